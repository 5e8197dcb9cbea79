/*
 * dlsym, dlopen and dlmopen. What they give may depend on who asks (RTLD_NEXT, the asker's RUNPATH, its namespace), which libc takes from
 * where it will return to. So nothing of ours may be between: it is decided whether libc or we are asked (linker.c, deep_binding.c), and
 * that is jumped to with the asker's arguments.
 */
#ifdef __LP64__
#if defined(__x86_64__)
	.macro stand_before name
	.hidden cw_way_of_\name
	.globl \name
	.type \name, @function
\name:
	.cfi_startproc
	pushq %rdi
	.cfi_adjust_cfa_offset 8
	pushq %rsi
	.cfi_adjust_cfa_offset 8
	pushq %rdx
	.cfi_adjust_cfa_offset 8
	call cw_way_of_\name
	popq %rdx
	.cfi_adjust_cfa_offset -8
	popq %rsi
	.cfi_adjust_cfa_offset -8
	popq %rdi
	.cfi_adjust_cfa_offset -8
	jmp *%rax
	.cfi_endproc
	.size \name, . - \name
	.endm
#elif defined(__aarch64__)
	.macro stand_before name
	.hidden cw_way_of_\name
	.globl \name
	.type \name, %function
\name:
	.cfi_startproc
	stp x29, x30, [sp, #-48]!
	.cfi_adjust_cfa_offset 48
	.cfi_rel_offset x29, 0
	.cfi_rel_offset x30, 8
	stp x0, x1, [sp, #16]
	str x2, [sp, #32]
	bl cw_way_of_\name
	mov x16, x0
	ldr x2, [sp, #32]
	ldp x0, x1, [sp, #16]
	ldp x29, x30, [sp], #48
	.cfi_adjust_cfa_offset -48
	.cfi_restore x29
	.cfi_restore x30
	br x16
	.cfi_endproc
	.size \name, . - \name
	.endm
#endif

#if defined(__x86_64__) || defined(__aarch64__)
	.text
	stand_before dlsym
	stand_before dlopen
	stand_before dlmopen
#endif
#endif
	.section .note.GNU-stack, "", %progbits
