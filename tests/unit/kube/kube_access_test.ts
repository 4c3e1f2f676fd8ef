/** URLs of API servers as operators give them. */

import { expect, test } from "bun:test";
import { serverUrl } from "../../../src/kube/kube_access.ts";

test.each([
  ["https://10.0.0.1:6443", "https://10.0.0.1:6443"],
  ["https://10.0.0.1:6443/", "https://10.0.0.1:6443"],
  [
    "https://rancher.example.com/k8s/clusters/c-1//",
    "https://rancher.example.com/k8s/clusters/c-1",
  ],
  ["http://localhost:8080", "http://localhost:8080"],
  ["https://[fd00::1]:6443", "https://[fd00::1]:6443"],
])("%p is %p", (text, url) => {
  expect(serverUrl(text, { defaultScheme: "http" })).toBe(url);
});

test("without a scheme it has the default one", () => {
  expect(serverUrl("localhost:8080", { defaultScheme: "http" })).toBe("http://localhost:8080");
  expect(serverUrl("k8s:6443/x", { defaultScheme: "https" })).toBe("https://k8s:6443/x");
});

test.each([
  ["", "a text without a host"],
  ["https://", "a URL without a host"],
  ["ftp://10.0.0.1", "another protocol"],
  ["https://admin@10.0.0.1", "a user"],
  ["https://:secret@10.0.0.1", "a password"],
  ["https://10.0.0.1/?a=b", "a query"],
  ["https://10.0.0.1/#a", "a fragment"],
])("%p is none: %s", (text) => {
  expect(serverUrl(text, { defaultScheme: "https" })).toBe(undefined);
});
