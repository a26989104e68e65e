/* SPDX-License-Identifier: MIT
 *
 * What may be decided when the core is compiled.  These are the values that the library has; they suit a machine with
 * megabytes.  For others: copy this file, change it, and compile the core, all of it, with
 *
 *	-DVMF_CONFIG_H='"my_config.h"'
 *
 * The copy is taken instead of this file: what it leaves out is an error.  Bounds are checked (core.h).  Nothing here
 * is part of the interface: drivers and ports need not be compiled with the same file.
 */
#ifndef VMF_CONFIG_DEFAULT_H
#define VMF_CONFIG_DEFAULT_H

/* How many faults nest on one CPU or thread, 2 to 8.  2: a handler may touch memory of another area, whose handler may
 * not.  Each costs 64 bytes for each slot of the port. */
#define VMF_CFG_DEPTH 2u

/* After how many tries a fault is given up (16 to 65534): for revocations, a layout that changes, and lack of memory;
 * and for the reasons that a driver gives. */
#define VMF_CFG_RACES 64u
#define VMF_CFG_TRIES 4096u

/* The same for unmap and protect while the layout is changed from outside: how often, and every so many ns. */
#define VMF_CFG_LAYOUT_TRIES 10000u
#define VMF_CFG_LAYOUT_NS 100000u

/* Between the tries of a fault that nobody wakes: the first wait in ns, doubled each time, up to the longest. */
#define VMF_CFG_BACKOFF_NS 1000u
#define VMF_CFG_BACKOFF_MAX_NS 1000000u

/* Counted entries that one call of pmap->remove() is asked for, 1 to 4096.  Eight bytes of stack each, in revoke and
 * unmap (not in faults). */
#define VMF_CFG_GATHER 256u

/* Frames that a driver's nopage can answer with, 1 to VMF_RUN_MAX.  A pointer of stack each, in faults. */
#define VMF_CFG_DRIVER_RUN 16u

/* Pages of one read or write of a backing, a power of two up to VMF_RUN_MAX: `around` and `readahead` are cut to it.
 * A pointer each in every fill of the reserve. */
#define VMF_CFG_IO_RUN 512u

/* What faults live on, since they never allocate: blocks ready at any time.  Leaves hold the state of 8 pages, nodes
 * are the tree above them, fills are reads in flight.  A fault that finds none waits until there are some. */
#define VMF_CFG_LEAVES 160u /* 1 or more; a long run wants an eighth of its pages */
#define VMF_CFG_NODES 64u   /* 16 or more */
#define VMF_CFG_FILLS 4u    /* 1 or more */
#define VMF_CFG_ALIASES 64u /* 1 or more; of blocks of 16 device pages, and of who shows some of one */
#define VMF_CFG_SLAB 32768u /* bytes that the host is asked for at a time, 1024 or more */

/* Counters of a space are spread over so many cache lines' worth, 1 to 64: about as many as there are CPUs. */
#define VMF_CFG_SHARDS 8u

#endif
