/* What the loader of static programs asks the library for: the one name of its own that the library shows. */
#ifndef CW_LOAD_LOAD_H
#define CW_LOAD_LOAD_H

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Where linkers put a static program by default. One that was put elsewhere has been so because it wants the memory around it for itself:
 * valgrind's tools, emulators, kernels in user mode. There the loader and the library would be in the way.
 */
#define CW_USUAL_BASE 0x400000

static inline bool cw_load_is_elsewhere(const Elf64_Ehdr *header, const Elf64_Phdr *segment)
{
	uint64_t base = UINT64_MAX;

	for (int i = 0; i < header->e_phnum; i++)
		if (segment[i].p_type == PT_LOAD && segment[i].p_vaddr < base)
			base = segment[i].p_vaddr;
	return header->e_type == ET_EXEC && base != CW_USUAL_BASE;
}

#define CW_LOADED_BEGIN "causeway_loaded_begin"

/* A program has been mapped: from where, its text, where its break begins, and its path. Its calls are dispatched from here on; false: they
 * can't or need not be. */
typedef bool cw_loaded_begin(uintptr_t start, uintptr_t low, uintptr_t high, uintptr_t end, const char *path);

#endif
