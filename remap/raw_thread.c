/*
 * libc's thread-local memory for threads that libc has not made. Our calls use it (errno, initial-exec variables, cancellation state), and
 * the program's own thread pointer isn't libc's there. It is made as libc makes it for its threads, by _dl_allocate_tls.
 */
#include "raw_inside.h"

#ifdef CW_RAW_HERE
#include <dlfcn.h>
#include <mqueue.h>
#include <netdb.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <threads.h>

#include "call.h"
#include "raw_jumps.h"
#include "sockets/leave.h"
#include "sockets/service.h"

/* The head of libc's thread descriptor; part of the ABI of compilers, but for multiple_threads. */
struct head {
	void *tcb, *dtv, *self;
	int multiple_threads, gscope;
	uintptr_t sysinfo, stack_guard, pointer_guard;
};

#define RSEQ_FAILED (-2) /* no processor number is kept for this thread: sched_getcpu asks the kernel */

__thread struct cw_raw_thread cw_raw_own;
uint32_t cw_raw_fsgsbase;

static void *(*allocate)(void *);
static ptrdiff_t rseq_at;
static _Atomic bool busy;
static struct cw_raw_thread *unused;

bool cw_raw_threads_start(void)
{
	const ptrdiff_t *at = dlsym(RTLD_DEFAULT, "__rseq_offset");

	cw_raw_fsgsbase = (getauxval(AT_HWCAP2) & 2) != 0;
	*(void **)&allocate = dlsym(RTLD_DEFAULT, "_dl_allocate_tls");
	rseq_at = at ? *at : 0;
	return allocate != NULL;
}

/* A signal handler on top of a thread that is in here goes without. */
static bool enter(void)
{
	for (int i = 0; i < 1000; i++) {
		if (!atomic_exchange_explicit(&busy, true, memory_order_acquire))
			return true;
		sched_yield();
	}
	return false;
}

static void leave(void)
{
	atomic_store_explicit(&busy, false, memory_order_release);
}

static struct cw_raw_thread *make(void)
{
	uintptr_t here = cw_raw_fs();
	const struct head *own = (const struct head *)here;
	struct head *head = allocate(NULL);
	struct cw_raw_thread *thread;

	if (!head)
		return NULL;
	head->tcb = head->self = head;
	head->multiple_threads = 1;
	head->stack_guard = own->stack_guard;
	head->pointer_guard = own->pointer_guard;
	if (rseq_at)
		((int *)((char *)head + rseq_at))[1] = RSEQ_FAILED;
	thread = (struct cw_raw_thread *)((uintptr_t)head + ((uintptr_t)&cw_raw_own - here));
	thread->own_fs = (uintptr_t)head;
	return thread;
}

/* One whose last user has gone. */
static struct cw_raw_thread *used_before(void)
{
	for (struct cw_raw_thread **at = &unused; *at; at = &(*at)->next) {
		struct cw_raw_thread *thread = *at;

		if (thread->left && cw_raw(SYS_tgkill, cw_raw(SYS_getpid, 0, 0, 0, 0, 0, 0), thread->left, 0, 0, 0, 0) != -ESRCH)
			continue;
		*at = thread->next;
		return thread;
	}
	return NULL;
}

struct cw_raw_thread *cw_raw_thread_new(void)
{
	struct cw_raw_thread *thread;

	if (!allocate || !enter())
		return NULL;
	thread = used_before();
	if (!thread)
		thread = make();
	leave();
	if (!thread)
		return NULL;
	memset(thread->detours, 0, sizeof(thread->detours));
	memset(thread->held, 0, sizeof(thread->held));
	thread->births = false;
	thread->direct = NULL;
	if (thread->direct_room)
		thread->direct_room->taken = 0;
	thread->left = 0;
	thread->stack = (stack_t){.ss_flags = SS_DISABLE};
	thread->fresh = true;
	thread->settled = false;
	return thread;
}

void cw_raw_thread_give(struct cw_raw_thread *thread, int left)
{
	if (!thread->own_fs || thread->own_fs == thread->program_fs || !enter())
		return;
	thread->left = left;
	thread->next = unused;
	unused = thread;
	leave();
}

/* ---- threads that libc makes ---- */

struct begin {
	void *(*function)(void *);
	void *argument;
};

static void *begin_thread(void *argument)
{
	struct begin begin = *(struct begin *)argument;
	void *result;

	free(argument);
	cw_raw_join();
	pthread_cleanup_push(cw_raw_stack_end, NULL);
	result = begin.function(begin.argument);
	pthread_cleanup_pop(1);
	return result;
}

CW_EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *), void *argument)
{
	struct begin *begin;
	int result;

	cw_ensure_started();
	if (!cw_raw_on)
		return cw_real.pthread_create(thread, attributes, function, argument);
	begin = malloc(sizeof(*begin));
	if (!begin)
		return EAGAIN;
	*begin = (struct begin){function, argument};
	result = cw_real.pthread_create(thread, attributes, begin_thread, begin);
	if (result)
		free(begin);
	return result;
}

struct begin_c11 {
	thrd_start_t function;
	void *argument;
};

static int begin_thread_c11(void *argument)
{
	struct begin_c11 begin = *(struct begin_c11 *)argument;
	int result;

	free(argument);
	cw_raw_join();
	pthread_cleanup_push(cw_raw_stack_end, NULL);
	result = begin.function(begin.argument);
	pthread_cleanup_pop(1);
	return result;
}

/* libc's own calls its pthread_create by no symbol. */
CW_EXPORT int thrd_create(thrd_t *thread, thrd_start_t function, void *argument)
{
	struct begin_c11 *begin;
	int result;

	cw_ensure_started();
	if (!cw_raw_on)
		return cw_real.thrd_create(thread, function, argument);
	begin = malloc(sizeof(*begin));
	if (!begin)
		return thrd_nomem;
	*begin = (struct begin_c11){function, argument};
	result = cw_real.thrd_create(thread, begin_thread_c11, begin);
	if (result != thrd_success)
		free(begin);
	return result;
}

void cw_raw_before_notify(const struct sigevent *event)
{
	if (!cw_raw_on || !event || event->sigev_notify != SIGEV_THREAD)
		return;
	cw_raw_jumps_end();
	if (cw_moving)
		cw_leave_process(CW_REASON_raw_calls);
}

CW_EXPORT int timer_create(clockid_t clock, struct sigevent *event, timer_t *timer)
{
	cw_ensure_started();
	cw_raw_before_notify(event);
	return cw_real.timer_create(clock, event, timer);
}

CW_EXPORT int mq_notify(mqd_t queue, const struct sigevent *event)
{
	cw_ensure_started();
	cw_raw_before_notify(event);
	return cw_real.mq_notify(queue, event);
}

CW_EXPORT int getaddrinfo_a(int mode, struct gaicb *list[], int count, struct sigevent *event)
{
	cw_ensure_started();
	cw_raw_before_notify(event);
	return cw_real.getaddrinfo_a(mode, list, count, event);
}
#else
void cw_raw_before_notify(const struct sigevent *event)
{
}
#endif
