/**
 * Notifications of nftables (NETLINK_NETFILTER, group NFNLGRP_NFTABLES;
 * linux/netfilter/nf_tables.h): each change of rules by nft or by the iptables programs that store
 * their rules in nftables.
 *
 * kube-proxy may change thousands of rules at a time. Therefore only the table and the chain of a
 * message are decoded.
 */

import type { Family } from "../../addr/ip.ts";
import { Attributes, type MessageReader } from "../../kernel/wire/message_reader.ts";
import type { NftChange } from "../rules/rule_target.ts";

/** Decodes the reader's current message; `undefined` if it is not about a table, chain or rule. */
export function decodeNftNotification(message: MessageReader): NftChange | undefined {
  if (message.type >> 8 !== NFNL_SUBSYS_NFTABLES) return undefined;
  const kind = KINDS[message.type & 0xff];
  if (kind === undefined || message.end - message.start < NFGENMSG_BYTES) return undefined;
  const family = FAMILIES[message.view.getUint8(message.start)]; // nfgen_family
  const names = attributes.read(message, message.start + NFGENMSG_BYTES, message.end);
  const table = names.text(NFTA_TABLE);
  if (table === undefined) return undefined;
  const chain = kind.chainAttribute === undefined ? undefined : names.text(kind.chainAttribute);
  return {
    family,
    table,
    ...(chain === undefined ? {} : { chain }),
    isRule: kind.isRule,
    isDeleted: kind.isDeleted,
  };
}

const attributes = new Attributes();

const NFNL_SUBSYS_NFTABLES = 10; // linux/netfilter/nfnetlink.h
const NFGENMSG_BYTES = 4; // linux/netfilter/nfnetlink.h: nfgen_family, version, res_id

// linux/netfilter.h: NFPROTO_IPV4, NFPROTO_IPV6
const FAMILIES: { readonly [protocol: number]: Family } = { 2: 4, 10: 6 };

/** NFTA_TABLE_NAME, NFTA_CHAIN_TABLE and NFTA_RULE_TABLE: the same number in all messages. */
const NFTA_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_CHAIN_NAME = 3;

interface MessageKind {
  readonly chainAttribute?: number;
  readonly isRule: boolean;
  readonly isDeleted: boolean;
}

/** enum nf_tables_msg_types // linux/netfilter/nf_tables.h */
const KINDS: { readonly [type: number]: MessageKind } = {
  0: { isRule: false, isDeleted: false }, // NFT_MSG_NEWTABLE
  2: { isRule: false, isDeleted: true }, // NFT_MSG_DELTABLE
  3: { chainAttribute: NFTA_CHAIN_NAME, isRule: false, isDeleted: false }, // NFT_MSG_NEWCHAIN
  5: { chainAttribute: NFTA_CHAIN_NAME, isRule: false, isDeleted: true }, // NFT_MSG_DELCHAIN
  6: { chainAttribute: NFTA_RULE_CHAIN, isRule: true, isDeleted: false }, // NFT_MSG_NEWRULE
  8: { chainAttribute: NFTA_RULE_CHAIN, isRule: true, isDeleted: true }, // NFT_MSG_DELRULE
};
