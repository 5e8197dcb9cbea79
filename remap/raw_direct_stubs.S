#if defined(__x86_64__) && defined(__LP64__)
#include "raw_places.h"

#define DIRECT     128 /* of struct cw_raw_thread */
#define ROOM       136
#define DIRECT_FS  144
#define LOW        152
#define HIGH       160

#define R8    40 /* of struct cw_raw_direct, which begins with a context */
#define R9    48
#define R10   56
#define R12   72
#define R13   80
#define R14   88
#define R15   96
#define RDI   104
#define RSI   112
#define RBP   120
#define RBX   128
#define RDX   136
#define RAX   144
#define RSP   160
#define RIP   168
#define PLACE  968
#define TAKEN  976
#define STATE  984
#define BEFORE 992

#define NUMBERS     512 /* of ways, of which these are (raw_jumps.h) */
#define BY_NAME     1
#define BY_KERNEL   2
#define BY_OPTION   3
#define DESCRIPTORS (1 << 20) /* of the table */

#define SOCKET    1 /* level SOL_SOCKET, and its options that are not ours to know */
#define KEEPALIVE 9
#define TCP       6 /* level IPPROTO_TCP: TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT */
#define KEEPIDLE  4
#define KEEPS     3

#define MXCSR    24 /* of what xsavec writes */
#define XMM      160
#define KEPT     512
#define FORMAT   520
#define IN_SSE   2
#define COMPACT  0x8000000000000002
#define UPPER    0x44 /* upper halves of the first sixteen: AVX, and AVX-512's of these */
#define LATER    0xa0 /* AVX-512: masks, and the second sixteen */
#define ZMM      1024 /* these, where xsavec writes nothing of what is kept beside them */
#define MASKS    2048

	.hidden cw_raw_way
	.hidden cw_raw_selector
	.hidden cw_raw_beside
	.hidden cw_raw_state
	.hidden cw_raw_by_xsave
	.hidden cw_raw_direct_answer
	.hidden cw_table
	.text

	.macro each_register what
	.irp number, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
	\what \number
	.endr
	.endm
	.macro keep_register number
	movaps %xmm\number, XMM+16*\number(%rsp)
	.endm
	.macro put_back_register number
	movaps XMM+16*\number(%rsp), %xmm\number
	.endm
	.macro each_later what
	.irp number, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
	\what \number
	.endr
	.endm
	.macro keep_later number
	vmovdqa64 %zmm\number, ZMM+64*(\number-16)(%rsp)
	.endm
	.macro put_back_later number
	vmovdqa64 ZMM+64*(\number-16)(%rsp), %zmm\number
	.endm
	.macro each_mask what
	.irp number, 0, 1, 2, 3, 4, 5, 6, 7
	\what \number
	.endr
	.endm
	.macro keep_mask number
	kmovq %k\number, MASKS+8*\number(%rsp)
	.endm
	.macro put_back_mask number
	kmovq MASKS+8*\number(%rsp), %k\number
	.endm

	/* To eax: what is in use of what xsavec keeps, but for SSE. Changes rcx and rdx. */
	.macro in_use
	movl $1, %ecx
	xgetbv
	andl cw_raw_state(%rip), %eax
	andl $UPPER|LATER, %eax
	.endm

/*
 * A call that came by a jump. rcx tells the system call instruction beside it, which makes the call where this doesn't; rcx and r11 alone
 * are free, and no stack may be touched before it is ours: Go has a hundred bytes left there. A signal may come anywhere. raw_direct.c tells
 * by the place what the program has to be shown: up to _taken it is still before its call, which begins anew; up to _over, all of it is in
 * the context; from _restore on that is done anew, since a handler may have changed what is put back; from _back on it is behind its call.
 * Handlers that libc calls by itself are shown these places: the context is one call's from before the first register is kept in it until
 * after the last is back.
 *
 * Of the first sixteen wide registers the lower halves alone are kept where the rest is in its first state, which is so of nearly all
 * calls and takes a fifth of the time; they are left as xsavec would write them. The second sixteen and the masks are in use for good once
 * libc's functions of strings have used them, and are kept beside these. What has come into use since is put back to its first state.
 */
	.type cw_raw_direct, @function
	place cw_raw_direct
	cmpq $NUMBERS, %rax
	jae 9f
	leaq cw_raw_way(%rip), %r11
	cmpb $BY_NAME, (%r11,%rax)
	jb 9f
	ja 6f
5:	cmpb $0, cw_raw_selector(%rip)
	je 9f
	rdgsbase %r11
	testq %r11, %r11
	jz 9f
	rdfsbase %r11
	cmpq %gs:DIRECT_FS, %r11
	jne 9f
	cmpq %gs:LOW, %rsp
	jbe 1f
	cmpq %gs:HIGH, %rsp
	jbe 9f
1:	movq %gs:DIRECT, %r11
	testq %r11, %r11
	jz 9f
	cmpq $0, TAKEN(%r11)
	jne 9f
	movq $1, TAKEN(%r11)
	place cw_raw_direct_taking
	movq %r8, R8(%r11)
	movq %r9, R9(%r11)
	movq %r10, R10(%r11)
	movq %r12, R12(%r11)
	movq %r13, R13(%r11)
	movq %r14, R14(%r11)
	movq %r15, R15(%r11)
	movq %rdi, RDI(%r11)
	movq %rsi, RSI(%r11)
	movq %rbp, RBP(%r11)
	movq %rbx, RBX(%r11)
	movq %rdx, RDX(%r11)
	movq %rax, RAX(%r11)
	movq %rsp, RSP(%r11)
	movq %rcx, PLACE(%r11)
	addq $2, %rcx
	movq %rcx, RIP(%r11)
	place cw_raw_direct_taken
	movq %r11, %r13
	movq STATE(%r11), %rsp
	cld
	rdgsbase %rbx
	movq CALL(%rbx), %r12
	movq %r12, BEFORE(%r13)
	movq %r13, CALL(%rbx)
	rdfsbase %rax
	movq %rax, PROGRAM_FS(%rbx)
	movq OWN_FS(%rbx), %rcx
	cmpq %rax, %rcx
	je 1f
	wrfsbase %rcx
1:	in_use
	movl %eax, %r14d
	testl cw_raw_by_xsave(%rip), %eax
	jnz 3f
	testl %eax, %eax
	jz 2f
	each_later keep_later
	each_mask keep_mask
2:	each_register keep_register
	stmxcsr MXCSR(%rsp)
	movq $IN_SSE, KEPT(%rsp)
	movabsq $COMPACT, %rax
	movq %rax, FORMAT(%rsp)
	jmp 4f
3:	movl cw_raw_state(%rip), %eax
	movl cw_raw_state+4(%rip), %edx
	xsavec64 (%rsp)
4:
	place cw_raw_direct_kept
	movq %rbx, %rdi
	movq %r13, %rsi
	call cw_raw_direct_answer
	place cw_raw_direct_over
	testl cw_raw_by_xsave(%rip), %r14d
	jnz 3f
	testl %r14d, %r14d
	jnz 1f
	in_use
	testl %eax, %eax
	jnz 3f
	jmp 2f
1:	vzeroupper
	each_later put_back_later
	each_mask put_back_mask
2:	each_register put_back_register
	ldmxcsr MXCSR(%rsp)
	jmp 4f
3:	movl cw_raw_state(%rip), %eax
	movl cw_raw_state+4(%rip), %edx
	xrstor64 (%rsp)
4:	movq PROGRAM_FS(%rbx), %rax
	cmpq OWN_FS(%rbx), %rax
	je 2f
	wrfsbase %rax
2:	movq %r12, CALL(%rbx)
	place cw_raw_direct_restore
	movq %gs:ROOM, %r11
	movq R8(%r11), %r8
	movq R9(%r11), %r9
	movq R10(%r11), %r10
	movq R12(%r11), %r12
	movq R13(%r11), %r13
	movq R14(%r11), %r14
	movq R15(%r11), %r15
	movq RDI(%r11), %rdi
	movq RSI(%r11), %rsi
	movq RBP(%r11), %rbp
	movq RBX(%r11), %rbx
	movq RDX(%r11), %rdx
	movq RAX(%r11), %rax
	movq RIP(%r11), %rcx
	movq RSP(%r11), %rsp
	place cw_raw_direct_back
	movq $0, TAKEN(%r11)
	jmp *%rcx
	place cw_raw_direct_end_of
	nop
	place cw_raw_direct_aside
6:	cmpb $BY_KERNEL, (%r11,%rax)
	je 8f
	cmpb $BY_OPTION, (%r11,%rax)
	je 7f
	cmpq $DESCRIPTORS, %rdi
	jae 5b
	leaq cw_table(%rip), %r11
	cmpl $0, (%r11,%rdi,4)
	je 8f
	jmp 5b
7:	leal -KEEPIDLE(%rdx), %r11d
	cmpl $TCP, %esi
	jne 1f
	cmpl $KEEPS, %r11d
	jae 5b
	jmp 8f
1:	cmpl $SOCKET, %esi
	jne 5b
	cmpl $KEEPALIVE, %edx
	jne 5b
8:	addq cw_raw_beside(%rip), %rcx
9:	jmp *%rcx
	place cw_raw_direct_aside_end
	nop
	.size cw_raw_direct, . - cw_raw_direct
#endif
	.section .note.GNU-stack, "", @progbits
