/*
 * Calls that the program's own registers and stack are needed for. The handler of a dispatched call sends the program here instead of
 * making it; from here they are not dispatched, and the program goes on where it was. gs: struct cw_raw_thread, by its offsets. rcx and r11
 * are lost by every system call, so they are free.
 */
#if defined(__x86_64__) && defined(__LP64__)
#define RESUME 0
#define SAVED  8
#define RESULT 48

	.hidden cw_raw_range
	.hidden cw_raw_fsgsbase
	.text

/* prctl(PR_SET_SYSCALL_USER_DISPATCH, ...) for this thread, which touches no stack: Go has a hundred bytes left there. rax becomes 0. */
	.macro arm
	movq %rdi, %gs:SAVED
	movq %rsi, %gs:SAVED+8
	movq %rdx, %gs:SAVED+16
	movq %r10, %gs:SAVED+24
	movq %r8, %gs:SAVED+32
	movl $157, %eax
	movl $59, %edi
	movq cw_raw_range(%rip), %rsi
	movq cw_raw_range+8(%rip), %rdx
	movq cw_raw_range+16(%rip), %r10
	xorl %r8d, %r8d
	syscall
	movq %gs:SAVED, %rdi
	movq %gs:SAVED+8, %rsi
	movq %gs:SAVED+16, %rdx
	movq %gs:SAVED+24, %r10
	movq %gs:SAVED+32, %r8
	xorl %eax, %eax
	.endm

/* The child runs in our memory and on our stack until it execs or ends; its calls are dispatched too. We wait for that. */
	.globl cw_raw_vfork_call
	.hidden cw_raw_vfork_call
	.type cw_raw_vfork_call, @function
cw_raw_vfork_call:
	syscall
	testq %rax, %rax
	jnz 1f
	arm
1:	movq %gs:RESUME, %rcx
	jmp *%rcx
	.size cw_raw_vfork_call, . - cw_raw_vfork_call

/* A thread. On its stack, which rsi tells, the handler has put its struct cw_raw_thread (or 0) and where it begins. */
	.globl cw_raw_thread_call
	.hidden cw_raw_thread_call
	.type cw_raw_thread_call, @function
cw_raw_thread_call:
	syscall
	leaq 16(%rsi), %rsi
	testq %rax, %rax
	jz 1f
	movq %rax, %gs:RESULT
	movq %gs:RESUME, %rcx
	jmp *%rcx
1:	popq %rcx
	testq %rcx, %rcx
	jz 3f
	cmpl $0, cw_raw_fsgsbase(%rip)
	je 2f
	wrgsbase %rcx
	arm
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
	ret
	.size cw_raw_thread_call, . - cw_raw_thread_call

/* sigaltstack, with arguments of ours in rdi and rsi. It can't fail. */
	.globl cw_raw_stack_call
	.hidden cw_raw_stack_call
	.type cw_raw_stack_call, @function
cw_raw_stack_call:
	movl $131, %eax
	syscall
	movq %gs:SAVED, %rdi
	movq %gs:SAVED+8, %rsi
	xorl %eax, %eax
	movq %gs:RESUME, %rcx
	jmp *%rcx
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
	jmp *%gs:RESUME
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
