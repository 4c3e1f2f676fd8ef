/** What the manual says about `flanneld lab` besides its flags. */

import type { CommandManual } from "./command.ts";

export const LAB_MANUAL: CommandManual = {
  variables: [
    ["PATH", "Where ip, ping, etcd and the other programs are found."],
    ["TMPDIR", "Where the files of a lab are (default /tmp)."],
  ],
  files: [
    ["/tmp/fl-lab-*", "The logs and other files of a lab, until it is removed."],
    ["/run/netns/fl-lab-*", "The hosts and workloads, as network namespaces."],
  ],
  signals: [
    ["SIGINT, SIGTERM, SIGHUP", "The lab is removed."],
  ],
  exitStatuses: [
    ["0", "Every ping succeeded."],
    ["1", "A ping failed, or the lab could not be built."],
    ["2", "An argument is invalid."],
    ["130", "It was interrupted."],
  ],
  examples: [
    ["flanneld lab --hosts 5 --backend wireguard", "Test a backend between five hosts."],
    ["flanneld lab --keep", "Build a lab for inspection."],
    ["flanneld lab down", "Remove all labs."],
  ],
};
