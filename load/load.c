/*
 * causeway-load: puts a static program into this process, as the kernel would have, beside the library that LD_PRELOAD has brought, and
 * begins it with its system calls dispatched (remap/raw.h). Its path is in CAUSEWAY_LOAD; arguments and environment are its own. Whatever
 * can't be done leaves the program to the kernel: it is executed as it is.
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "load.h"

#define VARIABLE      "CAUSEWAY_LOAD"
#define MOST_SEGMENTS 64
/* Where position-independent programs go: below all libraries, and above what has a fixed place. */
#define PLACE     0x100000000000ul
#define PLACE_END 0x500000000000ul

extern char **environ;

struct image {
	int fd;
	uint64_t file_size;
	Elf64_Ehdr header;
	Elf64_Phdr segment[MOST_SEGMENTS];
	uintptr_t bias, low, high, text_low, text_high, headers;
};

static uintptr_t page_down(uintptr_t address)
{
	return address & ~(uintptr_t)4095;
}

static uintptr_t page_up(uintptr_t address)
{
	return page_down(address + 4095);
}

/* ---- reading: nothing in the file is believed ---- */

static bool read_at(const struct image *image, void *to, size_t size, uint64_t offset)
{
	return offset <= image->file_size && size <= image->file_size - offset &&
	       pread(image->fd, to, size, (off_t)offset) == (ssize_t)size;
}

static bool read_headers(struct image *image)
{
	const Elf64_Ehdr *header = &image->header;

	return read_at(image, &image->header, sizeof(*header), 0) && memcmp(header->e_ident, ELFMAG, SELFMAG) == 0 &&
	       header->e_ident[EI_CLASS] == ELFCLASS64 && header->e_machine == EM_X86_64 &&
	       (header->e_type == ET_EXEC || header->e_type == ET_DYN) && header->e_phentsize == sizeof(Elf64_Phdr) && header->e_phnum &&
	       header->e_phnum <= MOST_SEGMENTS && read_at(image, image->segment, header->e_phnum * sizeof(Elf64_Phdr), header->e_phoff);
}

static bool good_segment(const struct image *image, const Elf64_Phdr *segment)
{
	return segment->p_filesz <= segment->p_memsz && segment->p_offset <= image->file_size &&
	       segment->p_filesz <= image->file_size - segment->p_offset && segment->p_vaddr < PLACE && segment->p_memsz < PLACE &&
	       ((segment->p_vaddr ^ segment->p_offset) & 4095) == 0;
}

static bool measure(struct image *image)
{
	image->low = image->text_low = UINTPTR_MAX;
	for (int i = 0; i < image->header.e_phnum; i++) {
		const Elf64_Phdr *segment = &image->segment[i];

		if (segment->p_type == PT_INTERP)
			return false;
		if (segment->p_type != PT_LOAD || !segment->p_memsz)
			continue;
		if (!good_segment(image, segment) || segment->p_vaddr < image->high)
			return false;
		if (image->low == UINTPTR_MAX)
			image->low = page_down(segment->p_vaddr);
		image->high = segment->p_vaddr + segment->p_memsz;
		if (segment->p_offset <= image->header.e_phoff && image->header.e_phoff < segment->p_offset + segment->p_filesz)
			image->headers = image->header.e_phoff - segment->p_offset + segment->p_vaddr;
		if (!(segment->p_flags & PF_X))
			continue;
		if (image->text_low == UINTPTR_MAX)
			image->text_low = page_down(segment->p_vaddr);
		image->text_high = page_up(segment->p_vaddr + segment->p_memsz);
	}
	return image->text_high && image->header.e_entry >= image->text_low && image->header.e_entry < image->text_high;
}

/* ---- mapping ---- */

/* Its pages all at once, so that nothing else gets between them. */
static bool reserve(struct image *image)
{
	size_t size = page_up(image->high) - image->low;
	uintptr_t wanted = image->low;
	void *got;

	if (image->header.e_type == ET_DYN) {
		uint64_t random;

		memcpy(&random, (const void *)getauxval(AT_RANDOM), sizeof(random)); // NOLINT
		wanted = page_down(PLACE + random % (PLACE_END - PLACE));
	}
	got = mmap((void *)wanted, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0); // NOLINT
	if (got == MAP_FAILED)
		return false;
	if ((uintptr_t)got != wanted) {
		munmap(got, size);
		return false;
	}
	image->bias = wanted - image->low;
	return true;
}

static bool map_segment(const struct image *image, const Elf64_Phdr *segment)
{
	int rights = (segment->p_flags & PF_R ? PROT_READ : 0) | (segment->p_flags & PF_W ? PROT_WRITE : 0) |
		     (segment->p_flags & PF_X ? PROT_EXEC : 0);
	uintptr_t start = image->bias + segment->p_vaddr, first = page_down(start), file_end = start + segment->p_filesz;
	uintptr_t end = page_up(start + segment->p_memsz), mapped = segment->p_filesz ? page_up(file_end) : first;

	if (mapped > first && mmap((void *)first, mapped - first, rights, MAP_PRIVATE | MAP_FIXED, image->fd,
				   (off_t)page_down(segment->p_offset)) == MAP_FAILED) // NOLINT
		return false;
	if (end > mapped &&
	    mmap((void *)mapped, end - mapped, rights, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) // NOLINT
		return false;
	if (mapped > first && segment->p_memsz > segment->p_filesz && (rights & PROT_WRITE))
		memset((void *)file_end, 0, mapped - file_end); // NOLINT
	return true;
}

static bool map_all(const struct image *image)
{
	for (int i = 0; i < image->header.e_phnum; i++)
		if (image->segment[i].p_type == PT_LOAD && image->segment[i].p_memsz && !map_segment(image, &image->segment[i]))
			return false;
	return true;
}

/* ---- beginning ---- */

static uint64_t auxiliary(const struct image *image, const char *path, uint64_t type, uint64_t value)
{
	switch (type) {
	case AT_PHDR:
		return image->bias + image->headers;
	case AT_PHNUM:
		return image->header.e_phnum;
	case AT_BASE:
		return 0;
	case AT_ENTRY:
		return image->bias + image->header.e_entry;
	case AT_EXECFN:
		return (uint64_t)path;
	}
	return value;
}

/* What lies on the stack of a new program: argc, argv, the environment without our variable, and what the kernel tells. */
static size_t lay_stack(uint64_t *to, const struct image *image, const char *path, int argc, char **argv, const Elf64_auxv_t *kernels)
{
	size_t at = 0;

	to[at++] = (uint64_t)argc;
	for (int i = 0; i < argc; i++)
		to[at++] = (uint64_t)argv[i];
	to[at++] = 0;
	for (char **variable = environ; *variable; variable++)
		to[at++] = (uint64_t)*variable;
	to[at++] = 0;
	for (; kernels->a_type != AT_NULL; kernels++) {
		to[at++] = kernels->a_type;
		to[at++] = auxiliary(image, path, kernels->a_type, kernels->a_un.a_val);
	}
	to[at++] = AT_NULL;
	to[at++] = 0;
	return at;
}

/* As exec leaves the processor's wide registers: in their first state. What is in use costs each call (remap/raw_direct_stubs.S). */
static void forget_registers(void)
{
	static const struct {
		uint32_t x87[6], mxcsr, rest[121], header[16];
	} __attribute__((aligned(64))) first = {.mxcsr = 0x1f80};
	uint32_t low, high;

	if (!__builtin_cpu_supports("avx"))
		return;
	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	/* x87, AVX, AVX-512; of SSE the compiler knows. */
	__asm__ volatile("xrstor64 %0" ::"m"(first), "a"(low & 0xe5), "d"(0));
}

_Noreturn static void jump(uintptr_t entry, const uint64_t *stack)
{
	forget_registers();
	__asm__ volatile("movq %0, %%rsp\n\t"
			 "xorl %%ebp, %%ebp\n\t"
			 "xorl %%edx, %%edx\n\t"
			 "jmp *%1"
			 :
			 : "r"(stack), "a"(entry)
			 : "memory");
	__builtin_unreachable();
}

static void begin(const struct image *image, const char *path, int argc, char **argv, const Elf64_auxv_t *kernels)
{
	const char *slash = strrchr(path, '/');
	cw_loaded_begin *loaded_begin;
	size_t words = 64, variables = 0;

	*(void **)&loaded_begin = dlsym(RTLD_DEFAULT, CW_LOADED_BEGIN);
	if (!loaded_begin)
		return;
	while (environ[variables])
		variables++;
	for (const Elf64_auxv_t *a = kernels; a->a_type != AT_NULL; a++)
		words += 2;
	words += (size_t)argc + variables;

	uint64_t stack[words + 2], *aligned = (uint64_t *)(((uintptr_t)stack + 15) & ~(uintptr_t)15);

	lay_stack(aligned, image, path, argc, argv, kernels);
	close(image->fd);
	prctl(PR_SET_NAME, slash ? slash + 1 : path);
	if (loaded_begin(image->bias + image->low, image->bias + image->text_low, image->bias + image->text_high, image->bias + image->high,
			 path))
		jump(image->bias + image->header.e_entry, aligned);
}

static void load(const char *path, int argc, char **argv, const Elf64_auxv_t *kernels)
{
	struct image image = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
	struct stat status;

	if (image.fd < 0 || fstat(image.fd, &status) < 0)
		return;
	image.file_size = (uint64_t)status.st_size;
	if (read_headers(&image) && measure(&image) && reserve(&image) && map_all(&image))
		begin(&image, path, argc, argv, kernels);
}

int main(int argc, char **argv)
{
	const char *named = getenv(VARIABLE);
	char **end = environ;
	char path[PATH_MAX];

	if (!named || strlen(named) >= sizeof(path)) {
		fprintf(stderr, "causeway-load is started by causeway run\n");
		return 125;
	}
	strcpy(path, named);
	while (*end)
		end++;
	unsetenv(VARIABLE);
	load(path, argc, argv, (const Elf64_auxv_t *)(end + 1));
	execve(path, argv, environ);
	fprintf(stderr, "causeway: %s: %s\n", path, strerror(errno));
	return errno == ENOENT ? 127 : 126;
}
