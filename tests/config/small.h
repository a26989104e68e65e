/* SPDX-License-Identifier: MIT
 *
 * The least of everything, but for the frames of an answer: drivers of tests hand over eight.
 */
#define VMF_CFG_DEPTH 2u
#define VMF_CFG_RACES 64u
#define VMF_CFG_TRIES 4096u
#define VMF_CFG_LAYOUT_TRIES 10000u
#define VMF_CFG_LAYOUT_NS 100000u
#define VMF_CFG_BACKOFF_NS 1000u
#define VMF_CFG_BACKOFF_MAX_NS 1000000u
#define VMF_CFG_GATHER 1u
#define VMF_CFG_DRIVER_RUN 8u
#define VMF_CFG_IO_RUN 1u
#define VMF_CFG_LEAVES 1u
#define VMF_CFG_NODES 16u
#define VMF_CFG_FILLS 1u
#define VMF_CFG_ALIASES 1u
#define VMF_CFG_SLAB 1024u
#define VMF_CFG_SHARDS 1u
