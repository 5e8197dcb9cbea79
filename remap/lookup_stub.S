/*
 * dlsym. What RTLD_NEXT and RTLD_DEFAULT give depends on who asks, which libc takes from where it will return to: so for these it is jumped
 * to, with nothing of ours between. With any other handle the answer doesn't depend on that, and is looked at (lookup.c).
 */
#if defined(__LP64__) && defined(__x86_64__)
	.hidden cw_libc_dlsym
	.hidden cw_find_dlsym
	.hidden cw_look_up_by_handle
	.text
	.globl dlsym
	.type dlsym, @function
dlsym:
	.cfi_startproc
	movq cw_libc_dlsym(%rip), %rax
	testq %rax, %rax
	jz 2f
1:	leaq 1(%rdi), %rcx
	cmpq $1, %rcx
	ja cw_look_up_by_handle
	jmp *%rax
2:	pushq %rdi
	.cfi_adjust_cfa_offset 8
	pushq %rsi
	.cfi_adjust_cfa_offset 8
	subq $8, %rsp
	.cfi_adjust_cfa_offset 8
	call cw_find_dlsym
	addq $8, %rsp
	.cfi_adjust_cfa_offset -8
	popq %rsi
	.cfi_adjust_cfa_offset -8
	popq %rdi
	.cfi_adjust_cfa_offset -8
	jmp 1b
	.cfi_endproc
	.size dlsym, . - dlsym
#elif defined(__LP64__) && defined(__aarch64__)
	.hidden cw_libc_dlsym
	.hidden cw_find_dlsym
	.hidden cw_look_up_by_handle
	.text
	.globl dlsym
	.type dlsym, %function
dlsym:
	.cfi_startproc
	adrp x16, cw_libc_dlsym
	add x16, x16, :lo12:cw_libc_dlsym
	ldar x16, [x16]
	cbz x16, 2f
1:	add x17, x0, #1
	cmp x17, #1
	b.ls 3f
	b cw_look_up_by_handle
2:	stp x29, x30, [sp, #-32]!
	.cfi_adjust_cfa_offset 32
	.cfi_rel_offset x30, 8
	stp x0, x1, [sp, #16]
	bl cw_find_dlsym
	mov x16, x0
	ldp x0, x1, [sp, #16]
	ldp x29, x30, [sp], #32
	.cfi_adjust_cfa_offset -32
	.cfi_restore x30
	b 1b
3:	br x16
	.cfi_endproc
	.size dlsym, . - dlsym
#endif
	.section .note.GNU-stack, "", %progbits
