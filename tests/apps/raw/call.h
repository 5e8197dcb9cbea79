/* A system call by an instruction of the program's own; with AS_GO, and what Go has behind it. */
#include <sys/syscall.h>

#ifdef AS_GO
/* Go's note: dynamic programs are looked at for this (remap/raw_program.c). */
__asm__(".pushsection .note.go.buildid, \"a\", @note\n"
	"	.long 4, 4, 4\n"
	"	.ascii \"Go\\0\\0test\"\n"
	"	.popsection\n");
#define INSTRUCTION "syscall\n\tcmpq $-4095, %%rax\n\tjbe 7f\n7:"
#else
#define INSTRUCTION "syscall"
#endif

/* In the function itself: a vfork child must not return from where it was made. */
static inline __attribute__((always_inline)) long call(long number, long a, long b, long c, long d, long e, long f)
{
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile(INSTRUCTION
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#define CALL(name, ...)                     CALL_(name, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(name, a, b, c, d, e, f, ...) call(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
