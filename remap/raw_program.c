/* Does this program make system calls by itself? Read from its own notes and text, so that it doesn't matter how it was started. */
#include "raw.h"
#include "text.h"

#include <link.h>
#include <stddef.h>
#include <unistd.h>

#define MOST_TEXT (32u << 20) /* looked through; about three milliseconds */

struct program {
	bool needed, is_go;
	uintptr_t start;
	uintptr_t low, high; /* its executable memory */
};

static const unsigned char *at(const struct dl_phdr_info *info, const ElfW(Phdr) * segment)
{
	return (const unsigned char *)(info->dlpi_addr + segment->p_vaddr); // NOLINT
}

/* The first object is the program. */
static int read_program(struct dl_phdr_info *info, size_t size, void *argument)
{
	struct program *program = argument;
	size_t left = MOST_TEXT;

	program->start = program->low = UINTPTR_MAX;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];

		if (segment->p_type == PT_NOTE && cw_text_note_of_go(at(info, segment), segment->p_memsz))
			program->needed = program->is_go = true;
		if (segment->p_type == PT_LOAD && (uintptr_t)at(info, segment) < program->start)
			program->start = (uintptr_t)at(info, segment);
		if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
			continue;
		if ((uintptr_t)at(info, segment) < program->low)
			program->low = (uintptr_t)at(info, segment);
		if ((uintptr_t)at(info, segment) + segment->p_memsz > program->high)
			program->high = (uintptr_t)at(info, segment) + segment->p_memsz;
	}
	for (int i = 0; i < info->dlpi_phnum && !program->needed && left; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		size_t part = segment->p_memsz < left ? segment->p_memsz : left;

		if (segment->p_type != PT_LOAD || (segment->p_flags & (PF_X | PF_R)) != (PF_X | PF_R))
			continue;
		program->needed = cw_text_find_call(at(info, segment), part) != NULL;
		left -= part;
	}
	return 1;
}

static const struct program *own(void)
{
	static struct program program;

	if (!program.high)
		dl_iterate_phdr(read_program, &program);
	return &program;
}

bool cw_raw_needed(void)
{
	return own()->needed;
}

bool cw_raw_start_program(void)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	return cw_raw_start(own()->start & ~(page - 1), own()->low & ~(page - 1), (own()->high + page - 1) & ~(page - 1), own()->is_go);
}
