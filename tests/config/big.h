/* SPDX-License-Identifier: MIT
 *
 * Much of everything, but for the tries, which the tests count.
 */
#define VMF_CFG_DEPTH 8u
#define VMF_CFG_RACES 64u
#define VMF_CFG_TRIES 4096u
#define VMF_CFG_LAYOUT_TRIES 100000u
#define VMF_CFG_LAYOUT_NS 10000u
#define VMF_CFG_BACKOFF_NS 1u
#define VMF_CFG_BACKOFF_MAX_NS 1000000u
#define VMF_CFG_GATHER 4096u
#define VMF_CFG_DRIVER_RUN 512u
#define VMF_CFG_IO_RUN 512u
#define VMF_CFG_LEAVES 4096u
#define VMF_CFG_NODES 1024u
#define VMF_CFG_FILLS 64u
#define VMF_CFG_ALIASES 4096u
#define VMF_CFG_SLAB 1048576u
#define VMF_CFG_SHARDS 64u
