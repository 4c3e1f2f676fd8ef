/** The flags of `flanneld install-cni`. */

import { boolean, directory, file, type FlagTable } from "./flag.ts";

const INSTALL_CNI = "flanneld install-cni";

export const INSTALL_CNI_FLAGS = {
  conf: file({
    name: "conf",
    section: INSTALL_CNI,
    help: "The list of plugins to install, with a plugin of the type flannel.",
    default: "/etc/kube-flannel/cni-conf.json",
    mayBeEmpty: false,
  }),
  confDir: directory({
    name: "conf-dir",
    section: INSTALL_CNI,
    help: "Where the container runtime reads lists of plugins; this one becomes " +
      "10-flannel.conflist.",
    default: "/etc/cni/net.d",
    mayBeEmpty: false,
  }),
  binDir: directory({
    name: "bin-dir",
    section: INSTALL_CNI,
    help: "Where the container runtime finds plugins; this program becomes flannel.",
    default: "/opt/cni/bin",
    mayBeEmpty: false,
  }),
  skipConf: boolean({
    name: "skip-conf",
    section: INSTALL_CNI,
    help: "Do not install the list of plugins.",
  }),
  skipPlugin: boolean({
    name: "skip-plugin",
    section: INSTALL_CNI,
    help: "Do not install the plugin.",
  }),
} as const satisfies FlagTable;
