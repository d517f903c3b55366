/* SPDX-License-Identifier: MIT
 * The mimalloc backing: the conformance suite, and an arena and a pool over it.
 */
#include "support.h"

#include <bumpool/conformance.h>

START_TEST(mimalloc_conforms)
{
    struct bp_conformance_options options = BP_CONFORMANCE_OPTIONS_INIT;

    options.largest = times(MIB, 128 * KIB);
#if defined(__SANITIZE_THREAD__) || defined(SUPPORT_TSAN)
    options.threads = 0; /* how mimalloc hands memory from thread to thread is not compiled for TSan to see */
#endif
    ck_assert_int_eq(bp_conformance_run(bp_backing_mimalloc(), &options, stderr), 0);
}
END_TEST

START_TEST(shared_instance_cannot_be_destroyed)
{
    bp_backing_destroy(bp_backing_mimalloc());
    ck_assert_ptr_nonnull(bp_backing_mimalloc());
    ck_assert_str_eq(bp_backing_mimalloc()->ops->name, "mimalloc");
}
END_TEST

START_TEST(feeds_arenas)
{
    struct bp_pool_config config = pool_config();
    bp_pool *pool = pool_on(bp_backing_mimalloc(), &config);
    bp_arena *a;
    size_t i, round;

    for (round = 0; round < 10; round++) {
        a = taken(pool);
        for (i = 1; i < 2000; i++) {
            void *p = bp_arena_alloc(a, i);

            must(p != NULL);
            stamp(p, i, (unsigned)i);
            must(stamped(p, i, (unsigned)i));
        }
        given(pool, a);
    }
    pool_gone(pool);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mimalloc");
    TCase *tc = add_case(s, "mimalloc");

    tcase_add_test(tc, mimalloc_conforms);
    tcase_add_test(tc, shared_instance_cannot_be_destroyed);
    tcase_add_test(tc, feeds_arenas);
    return run_suite(s);
}
