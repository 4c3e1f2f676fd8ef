import { expect, test } from "bun:test";
import { errorMessage, OperatorError } from "../../../src/base/operator_error.ts";

class SampleError extends OperatorError {
  override readonly name = "SampleError";
}

test("an operator error has the name of its class and carries its cause", () => {
  const cause = new Error("permission denied");
  const error = new SampleError("cannot read /etc/key: permission denied", { cause });
  expect(error).toBeInstanceOf(OperatorError);
  expect(`${error}`).toBe("SampleError: cannot read /etc/key: permission denied");
  expect(error.cause).toBe(cause);
});

test("errorMessage() takes anything that was thrown", () => {
  expect(errorMessage(new Error("broken"))).toBe("broken");
  expect(errorMessage("broken")).toBe("broken");
  expect(errorMessage(undefined)).toBe("undefined");
});
