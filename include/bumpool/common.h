/* SPDX-License-Identifier: MIT
 * Attributes, linkage and the few words shared by every module.
 */
#ifndef BUMPOOL_H
#error "include <bumpool.h>"
#endif
#ifndef BUMPOOL_COMMON_H
#define BUMPOOL_COMMON_H

#include <stdalign.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define BP_BEGIN_DECLS extern "C" {
#define BP_END_DECLS }
#else
#define BP_BEGIN_DECLS
#define BP_END_DECLS
#endif

#if defined(__GNUC__) || defined(__clang__)
#define BP_API __attribute__((visibility("default")))
#define BP_NODISCARD __attribute__((warn_unused_result))
#define BP_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define BP_ALLOC_SIZE(...) __attribute__((alloc_size(__VA_ARGS__)))
#define BP_RETURNS_ALIGNED(n) __attribute__((assume_aligned(n)))
#define BP_LIKELY(x) __builtin_expect(!!(x), 1)
#define BP_UNLIKELY(x) __builtin_expect(!!(x), 0)
#else
#define BP_API
#define BP_NODISCARD
#define BP_PRINTF(fmt, args)
#define BP_ALLOC_SIZE(...)
#define BP_RETURNS_ALIGNED(n)
#define BP_LIKELY(x) (x)
#define BP_UNLIKELY(x) (x)
#endif

/* The functions of the fast paths are inline. The library exports a copy of each under the
 * same name, so that a binding made without a C compiler can call them; a C program gets plain
 * declarations for those copies with -DBP_NO_INLINE. src/inline.c defines BP_INLINE itself. */
#ifndef BP_INLINE
#define BP_INLINE static inline
#endif

/* As a cap: no limit. A cap of 0 means zero. */
#define BP_UNLIMITED SIZE_MAX

/* Every block is aligned to at least this many bytes. */
#define BP_ALIGNMENT 16

BP_BEGIN_DECLS
typedef struct bp_backing bp_backing;
typedef struct bp_arena bp_arena;
typedef struct bp_pool bp_pool;
BP_END_DECLS

#endif
