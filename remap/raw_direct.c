/*
 * A call that came by a jump (raw_jumps.c), and where it is when a signal comes. Between a signal's frame and this there is little
 * difference: the program's registers are in a context, so handlers are shown the program as in a dispatched call (raw_signals.c).
 */
#include "raw_jumps.h"

#ifdef CW_RAW_HERE
#include <cpuid.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "call.h"
#include "plain.h"
#include "process.h"

#define STATE_ROOM 4096 /* xsavec's, of what is below */
#define ABOVE      (STATE_ROOM + sizeof(struct cw_raw_direct))
#define IN_SSE     2
#define TELLS_USE  6    /* xsavec, and xgetbv tells what is in use */
#define OUR_STATE  0xe6 /* SSE, AVX, AVX-512: what C code and libc use; not x87, which is in use behind every signal */

#define LATER 0xa0 /* AVX-512's masks and second sixteen registers */

uint64_t cw_raw_state;
uint32_t cw_raw_by_xsave;

#define NAMED(number)  [SYS_##number] = CW_RAW_BY_NAME
#define NUMBER(number) [SYS_##number] = CW_RAW_BY_NUMBER
#define KERNEL(number) [SYS_##number] = CW_RAW_BY_KERNEL
uint8_t cw_raw_way[CW_RAW_NUMBERS] = {
	NUMBER(read),
	NUMBER(write),
	NAMED(readv),
	NAMED(writev),
	NAMED(preadv2),
	NAMED(pwritev2),
	NAMED(recvfrom),
	NAMED(sendto),
	NAMED(recvmsg),
	NAMED(sendmsg),
	NAMED(recvmmsg),
	NAMED(sendmmsg),
	NAMED(sendfile),
	NAMED(splice),
	NAMED(socket),
	NAMED(socketpair),
	NAMED(connect),
	NAMED(accept),
	NAMED(accept4),
	NAMED(shutdown),
	[SYS_setsockopt] = CW_RAW_BY_OPTION,
	NAMED(getsockopt),
	NUMBER(close),
	NAMED(dup),
	NAMED(dup2),
	NAMED(dup3),
	NAMED(fcntl),
	NAMED(ioctl),
	NAMED(poll),
	NAMED(ppoll),
	NAMED(select),
	NAMED(pselect6),
	NAMED(epoll_create),
	NAMED(epoll_create1),
	NAMED(epoll_ctl),
	NAMED(epoll_wait),
	NAMED(epoll_pwait),
	NAMED(epoll_pwait2),
	NAMED(open),
	NAMED(openat),
	/* What no call of ours is named after (number.c), and a static program needs no other answer to (raw_static.c). */
	KERNEL(futex),
	KERNEL(nanosleep),
	KERNEL(clock_nanosleep),
	KERNEL(clock_gettime),
	KERNEL(gettimeofday),
	KERNEL(sched_yield),
	KERNEL(sched_getaffinity),
	KERNEL(getpid),
	KERNEL(getppid),
	KERNEL(gettid),
	KERNEL(tgkill),
	KERNEL(madvise),
	KERNEL(timer_settime),
	KERNEL(setitimer),
	KERNEL(bind),
	KERNEL(listen),
	KERNEL(getsockname),
	KERNEL(getpeername),
	KERNEL(fstat),
	KERNEL(newfstatat),
	KERNEL(stat),
	KERNEL(lstat),
	KERNEL(statx),
	KERNEL(lseek),
	KERNEL(pread64),
	KERNEL(pwrite64),
	KERNEL(fsync),
	KERNEL(fdatasync),
	KERNEL(ftruncate),
	KERNEL(fallocate),
	KERNEL(flock),
	KERNEL(getdents64),
	KERNEL(unlinkat),
	KERNEL(mkdirat),
	KERNEL(renameat),
	KERNEL(eventfd2),
	KERNEL(pipe2),
	KERNEL(getrandom),
	KERNEL(getuid),
	KERNEL(geteuid),
	KERNEL(getgid),
	KERNEL(getegid),
	KERNEL(uname),
};

_Static_assert(CW_RAW_BY_NAME == 1 && CW_RAW_BY_KERNEL == 2 && CW_RAW_BY_OPTION == 3 && CW_DESCRIPTORS == 1 << 20 && SOL_SOCKET == 1 &&
		       SO_KEEPALIVE == 9 && IPPROTO_TCP == 6 && TCP_KEEPIDLE == 4 && TCP_KEEPINTVL == 5 && TCP_KEEPCNT == 6,
	       "raw_direct_stubs.S knows them");

bool cw_raw_direct_possible(void)
{
	unsigned a, b, c, d, low, high;

	if (!cw_raw_fsgsbase || !__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !__get_cpuid_count(0xd, 1, &a, &b, &c, &d) ||
	    (a & TELLS_USE) != TELLS_USE)
		return false;
	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	cw_raw_state = low & OUR_STATE;
	cw_raw_by_xsave = OUR_STATE;
	if ((low & OUR_STATE) == OUR_STATE && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX512F) && (b & bit_AVX512BW))
		cw_raw_by_xsave &= ~LATER;
	return true;
}

/* ---- of a thread ---- */

static struct cw_raw_direct *make(void)
{
	char *stack = cw_raw_new_stack(ABOVE);
	struct cw_raw_direct *direct;

	if (!stack)
		return NULL;
	direct = (struct cw_raw_direct *)(stack + CW_RAW_STACK + STATE_ROOM); // NOLINT
	direct->state = stack + CW_RAW_STACK;
	return direct;
}

void cw_raw_direct_begin(struct cw_raw_thread *thread, const ucontext_t *context)
{
	struct cw_raw_direct *direct = thread->direct_room;
	bool none = cw_raw_is_none(&context->uc_stack);

	thread->direct_fs = thread->program_fs;
	if (thread->direct || !cw_raw_jumps_on || thread->direct_over || cw_is_other_process() || (direct && direct->taken))
		return;
	if (!direct)
		direct = make();
	if (!direct)
		return;
	memcpy(&direct->context, context, offsetof(ucontext_t, uc_sigmask) + CW_RAW_MASK_BYTES);
	thread->direct_room = direct;
	thread->signals_low = none ? 0 : (uintptr_t)context->uc_stack.ss_sp;
	thread->signals_high = none ? 0 : thread->signals_low + context->uc_stack.ss_size;
	/* A signal's handler that comes now finds it whole. */
	atomic_signal_fence(memory_order_release);
	thread->direct = direct;
}

void cw_raw_direct_pause(struct cw_raw_thread *thread)
{
	thread->direct = NULL;
}

void cw_raw_direct_end(struct cw_raw_thread *thread)
{
	struct cw_raw_direct *direct = thread->direct_room;

	thread->direct_over = true;
	thread->direct = thread->direct_room = NULL;
	if (direct && !direct->taken)
		cw_raw_free_stack((char *)direct->state - CW_RAW_STACK, ABOVE);
}

/* ---- a call ---- */

void cw_raw_direct_answer(struct cw_raw_thread *thread, struct cw_raw_direct *direct)
{
	greg_t *registers = direct->context.uc_mcontext.gregs;
	const long a[6] = CW_RAW_ARGUMENTS(registers);
	int error = errno;

	if (thread->births)
		cw_raw_born(thread);
	if (cw_is_plain())
		registers[REG_RIP] = (greg_t)direct->call; /* the program's own to make */
	else
		registers[REG_RAX] = cw_raw_by_name((long)registers[REG_RAX], a);
	errno = error;
}

/* ---- when a signal comes ---- */

static bool lies(uintptr_t at, const char *from, const char *to)
{
	return at >= (uintptr_t)from && at < (uintptr_t)to;
}

ucontext_t *cw_raw_direct_around(struct cw_raw_thread *thread, ucontext_t *own, bool *over)
{
	greg_t *registers = own->uc_mcontext.gregs;
	uintptr_t at = (uintptr_t)registers[REG_RIP], site;

	if (!cw_raw_jumps_on)
		return NULL;
	if (lies(at, cw_raw_direct_taking, cw_raw_direct_taken))
		thread->direct_room->taken = 0;
	if (lies(at, cw_raw_direct, cw_raw_direct_taken) || lies(at, cw_raw_direct_aside, cw_raw_direct_aside_end))
		site = cw_raw_jumps_site((uintptr_t)registers[REG_RCX]);
	else
		site = cw_raw_jumps_from(at);
	if (site) {
		registers[REG_RIP] = (greg_t)site;
		return NULL;
	}
	if (lies(at, cw_raw_direct_back, cw_raw_direct_end_of)) {
		registers[REG_RIP] = registers[REG_RCX];
		thread->direct_room->taken = 0;
		return NULL;
	}
	if (!lies(at, cw_raw_direct_taken, cw_raw_direct_end_of))
		return NULL;
	*over = lies(at, cw_raw_direct_over, cw_raw_direct_end_of);
	if (lies(at, cw_raw_direct_restore, cw_raw_direct_back))
		registers[REG_RIP] = (greg_t)cw_raw_direct_restore;
	return &thread->direct_room->context;
}

/* The kernel's view, of what is here the program's registers alone. */
void cw_raw_direct_complete(ucontext_t *call, const ucontext_t *own)
{
	memcpy(&call->uc_sigmask, &own->uc_sigmask, CW_RAW_MASK_BYTES);
	call->uc_stack = own->uc_stack;
	call->uc_mcontext.fpregs = own->uc_mcontext.fpregs;
}

bool cw_raw_direct_on_stack(const struct cw_raw_thread *thread, uintptr_t pointer)
{
	uintptr_t top = thread->direct_room ? (uintptr_t)thread->direct_room->state : 0;

	return pointer < top && top - pointer <= CW_RAW_STACK;
}

/* What the call has found in the processor's registers goes into the frame that is left by: ours are in it. */
static void put_back_state(const struct cw_raw_direct *direct, ucontext_t *own)
{
	const struct {
		uint32_t words[6], mxcsr, mxcsr_mask, x87[32], xmm[64], rest[24];
		uint64_t kept;
	} *state = direct->state;
	struct _libc_fpstate *frame = own->uc_mcontext.fpregs;

	_Static_assert(offsetof(__typeof__(*state), xmm) == 160 && offsetof(__typeof__(*state), kept) == 512, "as the processor has it");
	if (!frame)
		return;
	frame->mxcsr = state->mxcsr;
	if (state->kept & IN_SSE)
		memcpy(frame->_xmm, state->xmm, sizeof(state->xmm));
	else
		memset(frame->_xmm, 0, sizeof(state->xmm));
}

void cw_raw_direct_leave(struct cw_raw_thread *thread, ucontext_t *own)
{
	if (!lies((uintptr_t)own->uc_mcontext.gregs[REG_RIP], cw_raw_direct_taken, cw_raw_direct_kept)) {
		put_back_state(thread->direct_room, own);
		thread->call = thread->direct_room->before;
	}
	thread->direct_room->taken = 0;
}
#endif
