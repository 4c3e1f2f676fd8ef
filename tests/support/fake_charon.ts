/** A charon for tests of what it is told, and of what it says only in rare cases. */

import type { ViciMessage } from "../../src/backend/ipsec/vici_message.ts";
import { type ViciCall, ViciServer } from "./vici_server.ts";

/** Holds connections and keys, as a real one would, and the associations that a test gives it. */
export class FakeCharon implements Disposable {
  readonly conns = new Set<string>();
  readonly keys = new Set<string>();
  associations: ViciMessage[] = [];
  refuse: string | undefined;
  /** Happens when it is asked something, before it answers. */
  onCall: ((call: ViciCall) => void) | undefined;
  readonly path: string;
  readonly server: ViciServer;

  constructor(path: string) {
    this.path = path;
    this.server = new ViciServer(path, (call) => this.#answer(call));
  }

  [Symbol.dispose](): void {
    this.server[Symbol.dispose]();
  }

  /** What it was asked to change since the last time, without the keys. */
  takeChanges(): string[] {
    const changes = this.server.calls.filter(([command]) => !/^(get|list)-/.test(command));
    this.server.calls.length = 0;
    return changes.map(([command, message]) => {
      const what = message["name"] ?? message["id"] ?? message["ike-id"] ?? message["ike"] ??
        message["child-id"] ?? Object.keys(message)[0];
      return `${command} ${what}`;
    });
  }

  /** What it was asked for with this command since the last time. */
  takeQuestions(command: string): ViciMessage[] {
    const questions = this.server.calls.filter(([asked]) => asked === command);
    this.server.calls.length = 0;
    return questions.map(([, message]) => message);
  }

  #answer(call: ViciCall): ViciMessage {
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
