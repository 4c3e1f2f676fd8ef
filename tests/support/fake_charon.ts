/** A charon for tests of the requests to it, and of responses that a real one rarely sends. */

import type { ViciMessage } from "../../src/backend/ipsec/vici_message.ts";
import { type ViciCall, ViciServer } from "./vici_server.ts";

/** Has connections and keys like a real one, and the associations that a test gives it. */
export class FakeCharon implements Disposable {
  readonly conns = new Set<string>();
  readonly keys = new Set<string>();
  associations: ViciMessage[] = [];
  refuse: string | undefined;
  /** Called for each request, before the response. */
  onCall: ((call: ViciCall) => void) | undefined;
  readonly path: string;
  readonly server: ViciServer;

  constructor(path: string) {
    this.path = path;
    this.server = new ViciServer(path, (call) => this.#respond(call));
  }

  [Symbol.dispose](): void {
    this.server[Symbol.dispose]();
  }

  /** The changes that were requested since the last call, without the contents of keys. */
  takeChanges(): string[] {
    const changes = this.server.calls.filter(([command]) => !/^(get|list)-/.test(command));
    this.server.calls.length = 0;
    return changes.map(([command, message]) => {
      const what = message["name"] ?? message["id"] ?? message["ike-id"] ?? message["ike"] ??
        message["child-id"] ?? Object.keys(message)[0];
      return `${command} ${what}`;
    });
  }

  /** The requests with this command since the last call. */
  takeQuestions(command: string): ViciMessage[] {
    const questions = this.server.calls.filter(([asked]) => asked === command);
    this.server.calls.length = 0;
    return questions.map(([, message]) => message);
  }

  #respond(call: ViciCall): ViciMessage {
    this.onCall?.(call);
    const { command, message, event } = call;
    switch (command) {
      case "version":
        return { version: "5.9.8" };
      case "get-conns":
        return { conns: [...this.conns] };
      case "list-conns":
        for (const name of this.conns) event("list-conn", { [name]: { version: "IKEv2" } });
        return {};
      case "get-shared":
        return { keys: [...this.keys] };
      case "list-sas":
        for (const association of this.associations) {
          const isAskedFor = message["ike"] === undefined ||
            message["ike"] as string in association;
          if (isAskedFor) event("list-sa", association);
        }
        return {};
      case "load-conn": {
        const [name = ""] = Object.keys(message);
        if (name === this.refuse) return { success: "no", errmsg: "no" };
        this.conns.add(name);
        return { success: "yes" };
      }
      case "load-shared":
        this.keys.add(message["id"] as string);
        return { success: "yes" };
      case "unload-conn":
        return { success: this.conns.delete(message["name"] as string) ? "yes" : "no" };
      case "unload-shared":
        return { success: this.keys.delete(message["id"] as string) ? "yes" : "no" };
    }
    return { success: "no", errmsg: "nothing to do" };
  }
}
