#if defined(__x86_64__) && defined(__LP64__)
#include "raw_places.h"

	.hidden cw_raw_fsgsbase
	.hidden cw_raw_signal
	.hidden cw_raw_answer
	.hidden cw_raw_caught_slowly
	.text

/*
 * SIGSYS, by a dispatched call or sent. Until libc's thread pointer is there, and when it is gone again, another signal may come, whose
 * handler must not take this for the program: raw_signals.c tells it by the place, and finds the call by what lies on the stack there.
 */
	.type cw_raw_caught, @function
	place cw_raw_caught
	cmpl $2, 8(%rsi) /* si_code: of dispatch */
	jne cw_raw_signal
	cmpl $0, cw_raw_fsgsbase(%rip)
	je cw_raw_caught_slowly
	pushq %rbx
	place cw_raw_caught_1
	pushq %r12
	place cw_raw_caught_2
	pushq %r13
	place cw_raw_caught_3
	rdgsbase %rbx
	movq CALL(%rbx), %r12
	movq %rdx, CALL(%rbx)
	rdfsbase %rax
	movq %rax, PROGRAM_FS(%rbx)
	movq OWN_FS(%rbx), %rcx
	cmpq %rax, %rcx
	je 1f
	wrfsbase %rcx
1:	movq %rbx, %rdi
	call cw_raw_answer
	place cw_raw_over
	movq PROGRAM_FS(%rbx), %rax
	cmpq OWN_FS(%rbx), %rax
	je 2f
	wrfsbase %rax
2:	movq %r12, CALL(%rbx)
	popq %r13
	place cw_raw_over_1
	popq %r12
	place cw_raw_over_2
	popq %rbx
	place cw_raw_over_3
	ret
	nop
	place cw_raw_over_4
	movl $15, %eax
	syscall
	place cw_raw_over_end
	nop
	.size cw_raw_caught, . - cw_raw_caught
#endif

/*
 * Calls that the program's own registers and stack are needed for. The handler of a dispatched call sends the program here instead of
 * making it; from here they are not dispatched, and the program goes on where it was. rcx and r11 are lost by every system call, so they are
 * free. r12 is the call's struct cw_raw_detour, by its offsets: nothing else tells which call this is when it is over, since a handler may
 * have made others. It is free again when RESUME is 0, or (a thread's) RESULT is not; so that comes when nothing in it is needed any more.
 */
#if defined(__x86_64__) && defined(__LP64__)
#define RESUME    0
#define R12       8
#define SAVED     16
#define RESULT    56
#define RESUME_32 96 /* of struct cw_raw_thread, which begins with a detour */

	.hidden cw_raw_range
	.hidden cw_raw_selector
	.hidden cw_raw_fsgsbase
	.text

/* prctl(PR_SET_SYSCALL_USER_DISPATCH, ...) for this thread, which touches no stack: Go has a hundred bytes left there. rax becomes 0. */
	.macro arm
	movq %rdi, SAVED(%r12)
	movq %rsi, SAVED+8(%r12)
	movq %rdx, SAVED+16(%r12)
	movq %r10, SAVED+24(%r12)
	movq %r8, SAVED+32(%r12)
	movl $157, %eax
	movl $59, %edi
	movq cw_raw_range(%rip), %rsi
	movq cw_raw_range+8(%rip), %rdx
	movq cw_raw_range+16(%rip), %r10
	leaq cw_raw_selector(%rip), %r8
	syscall
	movq SAVED(%r12), %rdi
	movq SAVED+8(%r12), %rsi
	movq SAVED+16(%r12), %rdx
	movq SAVED+24(%r12), %r10
	movq SAVED+32(%r12), %r8
	xorl %eax, %eax
	.endm

/* The program goes on, and the detour is free. */
	.macro resume
	movq RESUME(%r12), %rcx
	movq R12(%r12), %r11
	movq $0, RESUME(%r12)
	movq %r11, %r12
	jmp *%rcx
	.endm

/* The child runs in our memory and on our stack until it execs or ends; its calls are dispatched too. We wait for that, and go on by the
 * same detour, which the child leaves as it is. */
	.globl cw_raw_vfork_call
	.hidden cw_raw_vfork_call
	.type cw_raw_vfork_call, @function
cw_raw_vfork_call:
	syscall
	testq %rax, %rax
	jz 1f
	resume
1:	arm
	movq RESUME(%r12), %rcx
	movq R12(%r12), %r12
	jmp *%rcx
	.size cw_raw_vfork_call, . - cw_raw_vfork_call

/* A thread. On its stack, which rsi tells, the handler has put its struct cw_raw_thread (or 0), its r12, and where it begins. */
	.globl cw_raw_thread_call
	.hidden cw_raw_thread_call
	.type cw_raw_thread_call, @function
cw_raw_thread_call:
	syscall
	leaq 24(%rsi), %rsi
	testq %rax, %rax
	jz 1f
	movq RESUME(%r12), %rcx
	movq R12(%r12), %r11
	movq %rax, RESULT(%r12)
	movq %r11, %r12
	jmp *%rcx
1:	popq %rcx
	testq %rcx, %rcx
	jz 3f
	movq %rcx, %r12
	cmpl $0, cw_raw_fsgsbase(%rip)
	je 2f
	wrgsbase %rcx
	arm
	popq %r12
	ret
2:	pushq %rdi
	pushq %rsi
	movq %rcx, %rsi
	movl $158, %eax
	movl $0x1001, %edi
	syscall
	popq %rsi
	popq %rdi
	arm
3:	xorl %eax, %eax
	popq %r12
	ret
	.size cw_raw_thread_call, . - cw_raw_thread_call

/* sigaltstack, with arguments of ours in rdi and rsi. It can't fail. */
	.globl cw_raw_stack_call
	.hidden cw_raw_stack_call
	.type cw_raw_stack_call, @function
cw_raw_stack_call:
	movl $131, %eax
	syscall
	movq SAVED(%r12), %rdi
	movq SAVED+8(%r12), %rsi
	xorl %eax, %eax
	resume
	.size cw_raw_stack_call, . - cw_raw_stack_call

/* A call of 32 bits, which keeps all registers. cw_raw_make_32(number and arguments) makes it here, cw_raw_call_32 in the program's place. */
	.globl cw_raw_make_32
	.hidden cw_raw_make_32
	.type cw_raw_make_32, @function
cw_raw_make_32:
	pushq %rbx
	pushq %rbp
	movq (%rdi), %rax
	movq 8(%rdi), %rbx
	movq 16(%rdi), %rcx
	movq 24(%rdi), %rdx
	movq 32(%rdi), %rsi
	movq 48(%rdi), %rbp
	movq 40(%rdi), %rdi
	int $0x80
	popq %rbp
	popq %rbx
	ret
	.size cw_raw_make_32, . - cw_raw_make_32

	.globl cw_raw_call_32
	.hidden cw_raw_call_32
	.type cw_raw_call_32, @function
cw_raw_call_32:
	int $0x80
	jmp *%gs:RESUME_32
	.size cw_raw_call_32, . - cw_raw_call_32

/* Where handlers of the program return to. */
	.globl cw_raw_restore
	.hidden cw_raw_restore
	.type cw_raw_restore, @function
	nop
cw_raw_restore:
	movl $15, %eax
	syscall
	.size cw_raw_restore, . - cw_raw_restore

/* (stack, function, argument): calls it on that stack. */
	.globl cw_raw_call_on
	.hidden cw_raw_call_on
	.type cw_raw_call_on, @function
cw_raw_call_on:
	pushq %rbp
	movq %rsp, %rbp
	movq %rdi, %rsp
	movq %rdx, %rdi
	call *%rsi
	movq %rbp, %rsp
	popq %rbp
	ret
	.size cw_raw_call_on, . - cw_raw_call_on

/* The same for a frame that the program wanted to return to by itself. */
	.globl cw_raw_return
	.hidden cw_raw_return
	.type cw_raw_return, @function
cw_raw_return:
	movq %rdi, %rsp
	movl $15, %eax
	syscall
	.size cw_raw_return, . - cw_raw_return
#endif
	.section .note.GNU-stack, "", @progbits
