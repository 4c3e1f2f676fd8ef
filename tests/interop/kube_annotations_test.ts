/** What both programs write to a Node, with the backends that every kernel has. */

import { afterAll } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeAnnotations } from "./annotation_cases.ts";

const MANAGED = { "kube-subnet-manager": "true" };
const VTEP = '{"VNI":1,"VtepMAC":"MAC"}';

const directory = mkdtempSync(join(tmpdir(), "kube-annotations-"));
const output = join(directory, "output");
writeFileSync(output, ' a "b" <c> &\n\u2028 ü\\ \n\n');
/** Without blanks around it. */
const OUTPUT = '"a \\"b\\" \\u003cc\\u003e \\u0026\\n\\u2028 ü\\\\"';

afterAll(() => rmSync(directory, { recursive: true }));

describeAnnotations([
  {
    name: "vxlan, IPv4",
    families: [4],
    backend: { Type: "vxlan" },
    annotations: {
      ...MANAGED,
      "backend-type": "vxlan",
      "backend-data": VTEP,
      "public-ip": "IPV4",
    },
  },
  {
    name: "vxlan, dual stack, with another VNI",
    families: [4, 6],
    backend: { Type: "vxlan", VNI: 4096 },
    annotations: {
      ...MANAGED,
      "backend-type": "vxlan",
      "backend-data": '{"VNI":4096,"VtepMAC":"MAC"}',
      "public-ip": "IPV4",
      "backend-v6-data": '{"VNI":4096,"VtepMAC":"MAC"}',
      "public-ipv6": "IPV6",
    },
  },
  {
    name: "vxlan, IPv6",
    families: [6],
    backend: { Type: "vxlan" },
    annotations: {
      ...MANAGED,
      "backend-type": "vxlan",
      "backend-v6-data": VTEP,
      "public-ipv6": "IPV6",
    },
  },
  {
    name: "host-gw, IPv4",
    families: [4],
    backend: { Type: "host-gw" },
    annotations: {
      ...MANAGED,
      "backend-type": "host-gw",
      "backend-data": "null",
      "public-ip": "IPV4",
    },
  },
  {
    name: "host-gw, dual stack",
    families: [4, 6],
    backend: { Type: "host-gw" },
    annotations: {
      ...MANAGED,
      "backend-type": "host-gw",
      "backend-data": "null",
      "public-ip": "IPV4",
      "backend-v6-data": "null",
      "public-ipv6": "IPV6",
    },
  },
  {
    name: "host-gw, IPv6",
    families: [6],
    backend: { Type: "host-gw" },
    annotations: {
      ...MANAGED,
      "backend-type": "host-gw",
      "backend-data": "null",
      "public-ip": "0.0.0.0",
      "backend-v6-data": "null",
      "public-ipv6": "IPV6",
    },
  },
  {
    name: "udp",
    families: [4],
    backend: { Type: "udp" },
    annotations: {
      ...MANAGED,
      "backend-type": "",
      "backend-data": "null",
      "public-ip": "IPV4",
    },
  },
  {
    name: "alloc, IPv4",
    families: [4],
    backend: { Type: "alloc" },
    annotations: {
      ...MANAGED,
      "backend-type": "",
      "backend-data": "null",
      "public-ip": "IPV4",
    },
  },
  {
    name: "alloc, dual stack",
    families: [4, 6],
    backend: { Type: "alloc" },
    annotations: {
      ...MANAGED,
      "backend-type": "",
      "backend-data": "null",
      "public-ip": "IPV4",
    },
  },
  {
    name: "extension, IPv4, without a PreStartupCommand",
    families: [4],
    backend: { Type: "extension" },
    annotations: {
      ...MANAGED,
      "backend-type": "extension",
      "backend-data": "",
      "public-ip": "IPV4",
    },
  },
  {
    name: "extension, dual stack",
    families: [4, 6],
    backend: { Type: "extension", PreStartupCommand: `cat ${output}` },
    annotations: {
      ...MANAGED,
      "backend-type": "extension",
      "backend-data": OUTPUT,
      "public-ip": "IPV4",
      "backend-v6-data": "null",
      "public-ipv6": "IPV6",
    },
  },
  {
    name: "extension, IPv6",
    families: [6],
    backend: { Type: "extension", PreStartupCommand: `cat ${output}` },
    annotations: {
      ...MANAGED,
      "backend-type": "extension",
      "backend-data": OUTPUT,
      "public-ip": "0.0.0.0",
      "backend-v6-data": "null",
      "public-ipv6": "IPV6",
    },
  },
]);
