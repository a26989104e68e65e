/* SPDX-License-Identifier: MIT
 *
 * The few atomic operations that the core uses: on words of at most a pointer's size, because 32-bit CPUs have no
 * others without library calls.
 */
#ifndef VMF_ATOMIC_H
#define VMF_ATOMIC_H

#define vmf__load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define vmf__peek(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define vmf__store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define vmf__set(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define vmf__swap(p, v) __atomic_exchange_n((p), (v), __ATOMIC_ACQ_REL)
#define vmf__add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_ACQ_REL)
#define vmf__sub(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_ACQ_REL)
/* *want is overwritten with what was there if it fails. */
#define vmf__cas(p, want, v) __atomic_compare_exchange_n((p), (want), (v), 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define vmf__fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define vmf__compiler_fence() __atomic_signal_fence(__ATOMIC_SEQ_CST)

#endif
