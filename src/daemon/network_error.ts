import { OperatorError } from "../base/operator_error.ts";

/** This host does not allow what the node needs: a privilege, a kernel entry, the interface. */
export class NetworkError extends OperatorError {
  override readonly name = "NetworkError";
}
