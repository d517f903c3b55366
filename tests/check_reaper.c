/* SPDX-License-Identifier: MIT
 * Giving memory back unasked, in real time: the reaper, which is a thread of the library, and the timerfd,
 * which an event loop waits for. The linker sends the library's calls of pthread_create and os_pressure here.
 *
 * Nothing is asserted about how long anything takes, but that it comes to pass in a generous time.
 */
#include "support.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "os_sync.h"

#define MS UINT64_C(1000000)
#define RETAIN (50 * MS)

#if defined(SUPPORT_TSAN) || defined(__SANITIZE_THREAD__)
#define MAY_START_THREADS_AFTER_FORK false /* ThreadSanitizer ends the program */
#else
#define MAY_START_THREADS_AFTER_FORK true
#endif

/* ---- in the place of others ---- */

static int thread_error;        /* what pthread_create returns instead of trying */
static pthread_t last_thread;
static sigset_t mask_at_create; /* which the thread inherits */
static int pressure_fd = -1;    /* what os_pressure hands out, once */

/* The names are the linker's. */
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*fn)(void *), void *data);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*fn)(void *), void *data);
int __wrap_os_pressure(int *fd);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *how, void *(*fn)(void *), void *data)
{
    int rc = thread_error;

    pthread_sigmask(SIG_BLOCK, NULL, &mask_at_create);
    if (rc == 0)
        rc = __real_pthread_create(thread, how, fn, data);
    if (rc == 0)
        last_thread = *thread;
    return rc;
}

/* Never the system's, so that what else runs on the machine is no part of the tests. */
int __wrap_os_pressure(int *fd)
{
    if (pressure_fd < 0)
        return ENOENT;
    *fd = pressure_fd;
    pressure_fd = -1;
    return 0;
}

/* ---- helpers ---- */

static bp_pool *reaped_pool(bp_backing *backing, size_t arena_size, uint64_t retain_ns)
{
    struct bp_pool_config c = pool_config();

    c.arena_size = arena_size;
    c.max_idle_bytes = BP_UNLIMITED;
    c.retain_ns = retain_ns;
    c.flags = BP_POOL_REAPER;
    return pool_on(backing, &c);
}

static size_t spike_bytes(void)
{
#ifdef SUPPORT_SANITIZED
    return 8 * MIB;
#else
    return times(64, 4) * MIB;
#endif
}

struct range {
    char *start;
    size_t size;
};

static struct range use_at(bp_pool *pool, size_t bytes)
{
    bp_arena *a = taken(pool);
    struct range r = { bp_arena_alloc(a, bytes), bytes };

    must(r.start != NULL);
    memset(seen(r.start), 1, bytes);
    given(pool, a);
    return r;
}

static void nap(uint64_t ns)
{
    struct timespec t = { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };

    nanosleep(&t, NULL);
}

/* Waits until `is` says so; false after a time that is more than enough. */
static bool comes_true(bool (*is)(const void *), const void *data)
{
    for (int i = 0; i < 20 * 200 && !is(data); i++)
        nap(5 * MS);
    return is(data);
}

/* Whether none of its pages is resident; it may have been unmapped by now. */
static bool is_gone(const void *data)
{
    const struct range *r = data;
    uintptr_t from = ((uintptr_t)r->start + page_size() - 1) & ~(uintptr_t)(page_size() - 1);
    unsigned char resident;

    for (; from + page_size() <= (uintptr_t)r->start + r->size; from += page_size()) {
        int rc = mincore((void *)from, page_size(), &resident);

        must(rc == 0 || errno == ENOMEM);
        if (rc == 0 && (resident & 1) != 0)
            return false;
    }
    return true;
}

/* Entries of a folder; with `comm`, those of threads with this name. */
static size_t count_entries(const char *folder, const char *comm)
{
    DIR *dir = opendir(folder);
    struct dirent *e;
    size_t n = 0;

    must(dir != NULL);
    while ((e = readdir(dir)) != NULL) {
        char path[300], text[32] = "";
        FILE *file;

        if (e->d_name[0] == '.')
            continue;
        if (comm == NULL) {
            n++;
            continue;
        }
        snprintf(path, sizeof path, "%s/%s/comm", folder, e->d_name);
        file = fopen(path, "r");
        if (file != NULL) {
            n += fgets(text, sizeof text, file) != NULL && strncmp(text, comm, strlen(comm)) == 0;
            fclose(file);
        }
    }
    closedir(dir);
    return n;
}

static size_t reapers(void)
{
    return count_entries("/proc/self/task", "bumpool-reaper");
}

static size_t descriptors(void)
{
    return count_entries("/proc/self/fd", NULL);
}

static bool no_reaper(const void *data)
{
    (void)data;
    return reapers() == 0; /* a thread that was joined may take a moment to leave the list */
}

/* ---- the reaper ---- */

START_TEST(process_that_rests_shrinks)
{
    size_t spike = spike_bytes();
    bp_pool *pool = reaped_pool(_i == 0 ? bp_backing_mmap() : bp_backing_reserved(), spike, RETAIN);
    struct range r;

    no_huge_pages();
    r = use_at(pool, spike);
    ck_assert(comes_true(is_gone, &r));

    /* And again, from its rest. */
    r = use_at(pool, spike);
    ck_assert(comes_true(is_gone, &r));
    pool_gone(pool);
}
END_TEST

/* Arenas of a thread that sleeps, and of one that has ended. */
static void *use_and_wait(void *arg)
{
    void **args = arg;

    *(struct range *)args[1] = use_at(args[0], MIB);
    pthread_barrier_wait(args[2]);
    if (args[3] != NULL)
        pthread_barrier_wait(args[2]);
    return NULL;
}

START_TEST(other_threads_need_not_wake)
{
    bp_pool *pool = reaped_pool(bp_backing_mmap(), MIB, RETAIN);
    pthread_barrier_t barrier;
    struct range r[2];
    pthread_t threads[2];

    no_huge_pages();
    pthread_barrier_init(&barrier, NULL, 2);
    for (int i = 0; i < 2; i++) {
        void *args[] = { pool, &r[i], &barrier, i == 0 ? pool : NULL };

        ck_assert_int_eq(pthread_create(&threads[i], NULL, use_and_wait, args), 0);
        pthread_barrier_wait(&barrier);
        ck_assert(comes_true(is_gone, &r[i]));
        if (i == 0)
            pthread_barrier_wait(&barrier);
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    pthread_barrier_destroy(&barrier);
    pool_gone(pool);
}
END_TEST

START_TEST(many_pools_share_a_thread)
{
    bp_pool *pools[10];
    struct range r[10];

    no_huge_pages();
    ck_assert_uint_eq(reapers(), 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 10; i++) {
            pools[i] = reaped_pool(bp_backing_mmap(), MIB, RETAIN * (uint64_t)(i % 3 + 1));
            ck_assert_uint_eq(reapers(), 1);
        }
        for (int i = 0; i < 10; i++)
            r[i] = use_at(pools[i], 128 * KIB);
        for (int i = 0; i < 10; i++)
            ck_assert(comes_true(is_gone, &r[i]));
        for (int i = 0; i < 10; i++) {
            ck_assert_uint_eq(reapers(), 1);
            pool_gone(pools[(i + 5) % 10]);
        }
        ck_assert(comes_true(no_reaper, NULL));
    }
}
END_TEST

START_TEST(pools_without_the_flag_have_no_thread)
{
    struct bp_pool_config c = pool_config();
    bp_pool *pool = pool_on(bp_backing_mmap(), &c);

    (void)use_at(pool, 4 * KIB);
    ck_assert_uint_eq(reapers(), 0);
    pool_gone(pool);
    c.flags = BP_POOL_REAPER | 2;
    ck_assert_int_eq(bp_pool_create(NULL, &c, &pool), EINVAL);
    ck_assert_uint_eq(reapers(), 0);
}
END_TEST

START_TEST(for_ever_is_for_ever)
{
    bp_pool *pool = reaped_pool(bp_backing_mmap(), MIB, BP_FOREVER);
    struct range r;

    no_huge_pages();
    r = use_at(pool, MIB);
    nap(200 * MS);
    ck_assert(!is_gone(&r));
    ck_assert_uint_eq(stats_of(pool).releases, 0);
    pool_gone(pool);
}
END_TEST

START_TEST(no_thread_no_pool)
{
    static const int errors[] = { EAGAIN, EPERM };
    struct bp_pool_config c = pool_config();
    size_t before = descriptors();
    bp_pool *pool = NULL;
    struct range r;

    c.flags = BP_POOL_REAPER;
    thread_error = errors[_i];
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(bp_pool_create(NULL, &c, &pool), errors[_i]);
    ck_assert_ptr_null(pool);
    ck_assert_uint_eq(descriptors(), before);
    thread_error = 0;

    no_huge_pages();
    pool = reaped_pool(bp_backing_mmap(), MIB, RETAIN);
    r = use_at(pool, MIB);
    ck_assert(comes_true(is_gone, &r));
    pool_gone(pool);
    ck_assert_uint_eq(descriptors(), before);
}
END_TEST

static void limit_descriptors(rlim_t n, struct rlimit *before)
{
    struct rlimit l;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, before), 0);
    l = *before;
    l.rlim_cur = n;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &l), 0);
}

START_TEST(no_descriptor_no_pool)
{
    struct bp_pool_config c = pool_config();
    bp_pool *pool = NULL;
    struct rlimit limit;
    int rc;

    c.flags = BP_POOL_REAPER;
    limit_descriptors(0, &limit);
    rc = bp_pool_create(NULL, &c, &pool);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(rc, EMFILE);
    ck_assert_ptr_null(pool);
    ck_assert_uint_eq(reapers(), 0);
}
END_TEST

START_TEST(signals_are_not_for_the_reaper)
{
    sigset_t before, after;
    bp_pool *pool;

    pthread_sigmask(SIG_BLOCK, NULL, &before);
    pool = reaped_pool(bp_backing_mmap(), MIB, RETAIN);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    for (int s = 1; s <= SIGRTMAX; s++) {
        if (s != SIGKILL && s != SIGSTOP && (s < 32 || s >= SIGRTMIN)) /* between them: libc's own */
            ck_assert_int_eq(sigismember(&mask_at_create, s), 1);
        ck_assert_int_eq(sigismember(&after, s), sigismember(&before, s));
    }
    pool_gone(pool);
}
END_TEST

/* With a pool that is empty, one whose arenas are cold, and one with a live arena. */
START_TEST(rest_costs_nothing)
{
    bp_pool *pools[3];
    struct timespec before, after;
    clockid_t clock;
    bp_arena *a;
    int64_t ns;

    for (int i = 0; i < 3; i++)
        pools[i] = reaped_pool(bp_backing_mmap(), MIB, 2000 * MS);
    (void)use_at(pools[1], 64 * KIB);
    a = taken(pools[2]);
    ck_assert_int_eq(pthread_getcpuclockid(last_thread, &clock), 0);
    ck_assert_int_eq(clock_gettime(clock, &before), 0);
    nap(2000 * MS);
    ck_assert_int_eq(clock_gettime(clock, &after), 0);
    ns = (int64_t)(after.tv_sec - before.tv_sec) * 1000000000 + (after.tv_nsec - before.tv_nsec);
    ck_assert_int_lt(ns, 50 * (int64_t)MS);
    given(pools[2], a);
    for (int i = 0; i < 3; i++)
        pool_gone(pools[i]);
}
END_TEST

/* ---- in the middle of its work ---- */

struct hooked {
    bp_backing backing;
    struct bp_backing_ops ops;
    bp_backing *inner;
    bp_pool *pool;
    atomic_bool waits_for_waiter; /* a release goes on when somebody waits for an arena */
    atomic_bool held, entered;    /* a release goes on when it is held no more */
};

static int hooked_acquire(bp_backing *self, size_t min, size_t preferred, size_t align, struct bp_extent *out)
{
    struct hooked *h = (struct hooked *)self;

    return h->inner->ops->acquire(h->inner, min, preferred, align, out);
}

static void hooked_dispose(bp_backing *self, const struct bp_extent *extent)
{
    struct hooked *h = (struct hooked *)self;

    h->inner->ops->dispose(h->inner, extent);
}

static int hooked_release(bp_backing *self, struct bp_extent *extent, size_t offset, size_t length,
                          size_t *released)
{
    struct hooked *h = (struct hooked *)self;

    atomic_store(&h->entered, true);
    while (atomic_load(&h->held))
        nap(MS);
    while (atomic_load(&h->waits_for_waiter) && stats_of(h->pool).waiting == 0)
        nap(MS);
    return h->inner->ops->release(h->inner, extent, offset, length, released);
}

static void hooked_init(struct hooked *h)
{
    memset(h, 0, sizeof *h);
    h->ops.struct_size = sizeof h->ops;
    h->ops.name = "hooked";
    h->ops.acquire = hooked_acquire;
    h->ops.dispose = hooked_dispose;
    h->ops.release = hooked_release;
    h->backing.ops = &h->ops;
    h->inner = bp_backing_mmap();
}

static bool is_set(const void *data)
{
    return atomic_load((const atomic_bool *)data);
}

struct destruction {
    bp_pool *pool;
    atomic_bool done;
};

static void *destroy_it(void *arg)
{
    struct destruction *d = arg;

    thread_must(bp_pool_destroy(d->pool) == 0);
    atomic_store(&d->done, true);
    return NULL;
}

START_TEST(destroy_waits_for_the_reaper)
{
    struct destruction d;
    struct hooked h;
    pthread_t thread;

    hooked_init(&h);
    d.pool = reaped_pool(&h.backing, MIB, RETAIN);
    atomic_init(&d.done, false);
    atomic_store(&h.held, true);
    (void)use_at(d.pool, 64 * KIB);
    ck_assert(comes_true(is_set, &h.entered));
    ck_assert_int_eq(pthread_create(&thread, NULL, destroy_it, &d), 0);
    nap(50 * MS);
    ck_assert(!atomic_load(&d.done));
    atomic_store(&h.held, false);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    threads_passed();
    ck_assert(comes_true(no_reaper, NULL));
}
END_TEST

START_TEST(waiter_gets_what_the_reaper_had)
{
    struct bp_pool_config c = pool_config();
    struct hooked h;
    bp_arena *a = NULL;

    hooked_init(&h);
    c.max_arenas = 1;
    c.arena_size = MIB;
    c.retain_ns = RETAIN;
    c.flags = BP_POOL_REAPER;
    h.pool = pool_on(&h.backing, &c);
    atomic_store(&h.waits_for_waiter, true);
    (void)use_at(h.pool, 64 * KIB);
    ck_assert(comes_true(is_set, &h.entered));
    ck_assert_int_eq(bp_pool_checkout_wait(h.pool, -1, &a), 0);
    ck_assert_ptr_nonnull(a);
    ck_assert_uint_eq(stats_of(h.pool).waits, 1);
    given(h.pool, a);
    pool_gone(h.pool);
}
END_TEST

START_TEST(refused_destroy_changes_nothing)
{
    bp_pool *pool = reaped_pool(bp_backing_mmap(), MIB, RETAIN);
    bp_arena *a = taken(pool);
    struct misuse_log log;
    struct range r = { bp_arena_alloc(a, 512 * KIB), 512 * KIB };

    no_huge_pages();
    ck_assert_ptr_nonnull(r.start);
    memset(seen(r.start), 1, r.size);
    misuse_listen(&log);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(bp_pool_destroy(pool), EBUSY);
        misuse_was(&log, BP_MISUSE_LIVE_ARENAS);
        nap(10 * MS);
    }
    bp_set_misuse_handler(NULL, NULL);
    ck_assert_uint_eq(reapers(), 1);
    ck_assert_uint_ge(pages_resident(r.start, r.size), r.size / page_size() - 1); /* live: not touched */
    given(pool, a);
    ck_assert(comes_true(is_gone, &r));
    pool_gone(pool);
}
END_TEST

/* ---- fork ---- */

/* What the child's own reaper does; 0 or the number of what failed. */
static int child_shrinks(bp_pool *pool, struct range *before)
{
    struct range r;

    if (reapers() != 0)
        return 1;
    thread_error = EAGAIN; /* that no thread can be made is no reason not to work */
    r = use_at(pool, 256 * KIB);
    if (r.start != before->start || reapers() != 0)
        return 2;
    thread_error = 0;
    if (bp_pool_trim(pool, 0) != 0 || bp_pool_tick(pool, os_now(), NULL) != 0)
        return 3;
    r = use_at(pool, 256 * KIB); /* a mint */
    if (reapers() != 1)
        return 4;
    if (!comes_true(is_gone, &r))
        return 5;
    if (bp_pool_destroy(pool) != 0 || !comes_true(no_reaper, NULL))
        return 6;
    return 0;
}

START_TEST(child_of_fork_has_its_own)
{
    bp_pool *pool = reaped_pool(bp_backing_mmap(), MIB, RETAIN);
    struct range r;
    int status = -1;
    pid_t child;

    no_huge_pages();
    r = use_at(pool, 256 * KIB);
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0)
        _exit(child_shrinks(pool, &r));
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    ck_assert(comes_true(is_gone, &r)); /* the parent's goes on */
    ck_assert_uint_eq(reapers(), 1);
    pool_gone(pool);
}
END_TEST

/* ---- pressure ---- */

static void shut(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* A pair of connected sockets that know urgent data: not all kernels have that in AF_UNIX. */
static bool urgent_pair(int fds[2])
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    char c;
    int listener;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0) {
        if (send(fds[1], "!", 1, MSG_OOB) == 1 && recv(fds[0], &c, 1, MSG_OOB) == 1)
            return true;
        close(fds[0]);
        close(fds[1]);
    }
    listener = socket(AF_INET, SOCK_STREAM, 0);
    fds[1] = socket(AF_INET, SOCK_STREAM, 0);
    fds[0] = -1;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) == 0 && listen(listener, 1) == 0 &&
        getsockname(listener, (struct sockaddr *)&address, &length) == 0 &&
        connect(fds[1], (struct sockaddr *)&address, length) == 0)
        fds[0] = accept(listener, NULL, NULL);
    shut(listener);
    if (fds[0] >= 0)
        return true;
    shut(fds[1]);
    return false;
}

START_TEST(pressure_releases_at_once)
{
    bp_pool *pools[2];
    struct range r[2];
    int fds[2], reader;

    no_huge_pages();
    ck_assert(urgent_pair(fds));
    reader = dup(fds[0]); /* the library closes the other one */
    pressure_fd = fds[0];
    for (int i = 0; i < 2; i++)
        pools[i] = reaped_pool(bp_backing_mmap(), MIB, i == 0 ? 3600000 * MS : BP_FOREVER);
    for (int round = 0; round < 2; round++) {
        char c;

        for (int i = 0; i < 2; i++)
            r[i] = use_at(pools[i], MIB / 2);
        nap(20 * MS);
        /* Later on it may still be busy with the last one. */
        ck_assert(round != 0 || (!is_gone(&r[0]) && !is_gone(&r[1])));
        ck_assert_int_eq((int)send(fds[1], "!", 1, MSG_OOB), 1);
        ck_assert(comes_true(is_gone, &r[0]));
        ck_assert(comes_true(is_gone, &r[1]));
        ck_assert_int_eq((int)recv(reader, &c, 1, MSG_OOB), 1); /* no POLLPRI from here on */
    }
    for (int i = 0; i < 2; i++)
        pool_gone(pools[i]);
    ck_assert_int_eq(fcntl(fds[0], F_GETFD), -1); /* closed with the thread */
    close(fds[1]);
    close(reader);
}
END_TEST

static bool is_closed(const void *data)
{
    return fcntl(*(const int *)data, F_GETFD) == -1;
}

/* The reader of a pipe that has gone is POLLERR to the writer; of a socket, POLLHUP. */
START_TEST(trigger_that_breaks_is_dropped)
{
    bp_pool *pool;
    struct range r;
    int fds[2];

    no_huge_pages();
    if (_i == 0)
        ck_assert_int_eq(pipe(fds), 0);
    else
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    pressure_fd = fds[1];
    pool = reaped_pool(bp_backing_mmap(), MIB, RETAIN);
    close(fds[0]);
    ck_assert(comes_true(is_closed, &fds[1]));
    r = use_at(pool, MIB / 2);
    ck_assert(comes_true(is_gone, &r));
    pool_gone(pool);
}
END_TEST

/* ---- timerfd ---- */

static bool is_readable(int fd)
{
    struct pollfd p = { fd, POLLIN, 0 };

    return poll(&p, 1, 0) == 1;
}

static bool is_armed(int fd)
{
    struct itimerspec t;

    ck_assert_int_eq(timerfd_gettime(fd, &t), 0);
    return t.it_value.tv_sec != 0 || t.it_value.tv_nsec != 0 || is_readable(fd);
}

static bp_pool *timed_pool(uint64_t retain_ns, int *fd)
{
    struct bp_pool_config c = pool_config();
    bp_pool *pool;

    c.arena_size = MIB;
    c.max_idle_bytes = BP_UNLIMITED;
    c.retain_ns = retain_ns;
    pool = pool_on(bp_backing_mmap(), &c);
    ck_assert_int_eq(bp_pool_timerfd(pool, fd), 0);
    return pool;
}

START_TEST(event_loop_shrinks)
{
    int fd, again, loop = epoll_create1(EPOLL_CLOEXEC);
    bp_pool *pool = timed_pool(RETAIN, &fd);
    struct epoll_event event = { .events = EPOLLIN };
    struct range r;

    no_huge_pages();
    ck_assert_int_ge(loop, 0);
    ck_assert_int_eq(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event), 0);
    for (int round = 0; round < 2; round++) {
        size_t ticks = 0;

        r = use_at(pool, MIB / 2);
        /* The timer is never read, and is armed for as long as there are arenas. */
        while (stats_of(pool).idle != 0) {
            ck_assert(is_armed(fd));
            ck_assert_int_eq(epoll_wait(loop, &event, 1, 20000), 1);
            ck_assert_int_eq(bp_pool_tick(pool, os_now(), NULL), 0);
            ticks++;
        }
        ck_assert(is_gone(&r));
        ck_assert_uint_eq(stats_of(pool).releases, (uint64_t)round + 1);
        ck_assert_uint_le(ticks, 40); /* it does not spin */
        ck_assert(!is_armed(fd));     /* empty: nothing to come */
        ck_assert_int_eq(epoll_wait(loop, &event, 1, 50), 0);
        ck_assert_int_eq(bp_pool_timerfd(pool, &again), 0);
        ck_assert_int_eq(again, fd);
    }
    given(pool, taken(pool)); /* a mint */
    ck_assert(is_armed(fd));
    close(loop);
    pool_gone(pool);
    ck_assert(is_closed(&fd));
}
END_TEST

START_TEST(timerfd_is_due_from_the_start)
{
    int fd;
    bp_pool *pool = timed_pool(3600000 * MS, &fd);
    int flags = fcntl(fd, F_GETFL), fd_flags = fcntl(fd, F_GETFD);

    ck_assert(is_readable(fd));
    ck_assert_int_ne(flags & O_NONBLOCK, 0);
    ck_assert_int_ne(fd_flags & FD_CLOEXEC, 0);
    given(pool, taken(pool));
    ck_assert_int_eq(bp_pool_tick(pool, os_now(), NULL), 0);
    ck_assert(!is_readable(fd)); /* set anew by the tick, */
    ck_assert(is_armed(fd));     /* for in an hour */
    pool_gone(pool);

    pool = timed_pool(BP_FOREVER, &fd);
    given(pool, taken(pool));
    ck_assert(!is_armed(fd));
    ck_assert_int_eq(bp_pool_timerfd(pool, NULL), EINVAL);
    pool_gone(pool);
}
END_TEST

START_TEST(timerfd_without_descriptors)
{
    struct bp_pool_config c = pool_config();
    int fd, again = -1, none = -1, rc, known_rc;
    bp_pool *pool = timed_pool(RETAIN, &fd), *other = pool_on(NULL, &c);
    struct rlimit limit;

    limit_descriptors(0, &limit);
    rc = bp_pool_timerfd(other, &none);
    known_rc = bp_pool_timerfd(pool, &again); /* there is one already */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    ck_assert_int_eq(rc, EMFILE);
    ck_assert_int_eq(none, -1);
    ck_assert_int_eq(known_rc, 0);
    ck_assert_int_eq(again, fd);
    pool_gone(pool);
    pool_gone(other);
}
END_TEST

/* The timer of the parent is not the child's to set. */
START_TEST(child_of_fork_leaves_the_timer)
{
    int fd, status = -1;
    bp_pool *pool = timed_pool(3600000 * MS, &fd);
    pid_t child;

    given(pool, taken(pool));
    ck_assert_int_eq(bp_pool_tick(pool, os_now(), NULL), 0);
    ck_assert(is_armed(fd) && !is_readable(fd));
    child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int own = -1;

        if (bp_pool_trim(pool, 0) != 0 || bp_pool_tick(pool, os_now() + 7200000 * MS, NULL) != 0)
            _exit(1); /* empty: this would disarm it */
        given(pool, taken(pool));
        if (bp_pool_timerfd(pool, &own) != 0 || !is_readable(own))
            _exit(2);
        _exit(bp_pool_destroy(pool) == 0 ? 0 : 3);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    ck_assert(is_armed(fd) && !is_readable(fd));
    pool_gone(pool);
}
END_TEST

static atomic_bool stop;

static void *come_and_go(void *arg)
{
    while (!atomic_load(&stop)) {
        given(arg, taken(arg));
        thread_must(bp_pool_trim(arg, 0) == 0);
    }
    return NULL;
}

/* The pool becomes empty and is used again in other threads all the time: the timer must never be left unset
 * while there are arenas. */
START_TEST(timer_is_not_lost)
{
    struct bp_pool_config c = pool_config();
    bp_pool *pool;
    pthread_t threads[2];
    int fd;

    c.retain_ns = 0;
    pool = pool_on(bp_backing_malloc(), &c);
    ck_assert_int_eq(bp_pool_timerfd(pool, &fd), 0);
    for (size_t round = 0; round < times(20, 3); round++) {
        atomic_store(&stop, false);
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, pool), 0);
        for (size_t i = 0; i < times(2000, 50); i++)
            ck_assert_int_eq(bp_pool_tick(pool, os_now(), NULL), 0);
        atomic_store(&stop, true);
        for (int i = 0; i < 2; i++)
            ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        threads_passed();
        given(pool, taken(pool));
        ck_assert(is_armed(fd));
    }
    pool_gone(pool);
}
END_TEST

static Suite *reaper_suite(void)
{
    Suite *s = suite_create("reaper");
    TCase *tc = add_case(s, "reaper");

    tcase_add_loop_test(tc, process_that_rests_shrinks, 0, 2);
    tcase_add_test(tc, other_threads_need_not_wake);
    tcase_add_test(tc, many_pools_share_a_thread);
    tcase_add_test(tc, pools_without_the_flag_have_no_thread);
    tcase_add_test(tc, for_ever_is_for_ever);
    tcase_add_loop_test(tc, no_thread_no_pool, 0, 2);
    tcase_add_test(tc, no_descriptor_no_pool);
    tcase_add_test(tc, signals_are_not_for_the_reaper);
    tcase_add_test(tc, rest_costs_nothing);

    tc = add_case(s, "at work");
    tcase_add_test(tc, destroy_waits_for_the_reaper);
    tcase_add_test(tc, waiter_gets_what_the_reaper_had);
    tcase_add_test(tc, refused_destroy_changes_nothing);

    if (may_fork()) {
        tc = add_case(s, "fork");
        if (MAY_START_THREADS_AFTER_FORK)
            tcase_add_test(tc, child_of_fork_has_its_own);
        tcase_add_test(tc, child_of_fork_leaves_the_timer);
    }

    tc = add_case(s, "pressure");
    tcase_add_test(tc, pressure_releases_at_once);
    tcase_add_loop_test(tc, trigger_that_breaks_is_dropped, 0, 2);

    tc = add_case(s, "timerfd");
    tcase_add_test(tc, event_loop_shrinks);
    tcase_add_test(tc, timerfd_is_due_from_the_start);
    tcase_add_test(tc, timerfd_without_descriptors);
    tcase_add_test(tc, timer_is_not_lost);
    return s;
}

int main(void)
{
    return run_suite(reaper_suite());
}
