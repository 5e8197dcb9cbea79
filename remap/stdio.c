#include "stdio.h"

#include "call.h"

#ifdef __GLIBC__ /* musl: stdio_musl.c */

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* struct _IO_jump_t of glibc 2.1 to 2.41: two words, then nineteen functions. */
#define TABLE_WORDS 21
#define READ_WORD   14
#define WRITE_WORD  15
#define CLOSE_WORD  17

typedef ssize_t file_read(FILE *file, void *bytes, ssize_t count);
typedef ssize_t file_write(FILE *file, const void *bytes, ssize_t count);
typedef int file_close(FILE *file);

static file_read *libc_read;
static file_write *libc_write;
static file_close *libc_close;

static ssize_t read_file(FILE *file, void *bytes, ssize_t count)
{
	if (cw_likely(!cw_table_get(file->_fileno)))
		return libc_read(file, bytes, count);
	return read(file->_fileno, bytes, (size_t)count);
}

/* libc's loop (_IO_new_file_write), with our write. */
static ssize_t write_file(FILE *file, const void *bytes, ssize_t count)
{
	ssize_t left = count;

	if (cw_likely(!cw_table_get(file->_fileno)))
		return libc_write(file, bytes, count);
	while (left > 0) {
		ssize_t sent = write(file->_fileno, bytes, (size_t)left);

		if (sent < 0) {
			file->_flags |= 0x20; /* _IO_ERR_SEEN */
			break;
		}
		left -= sent;
		bytes = (const char *)bytes + sent;
	}
	return count - left;
}

static int close_file(FILE *file)
{
	int result, before;

	if (cw_likely(!cw_table_get(file->_fileno)))
		return libc_close(file);
	before = cw_hold_cancellation(); /* as libc's; its read and its write give the FILE back when they are cancelled */
	result = close(file->_fileno);
	cw_release_cancellation(before);
	return result;
}

static bool known_size(void *table)
{
	Dl_info info;
	const ElfW(Sym) *symbol = NULL;

	return dladdr1(table, &info, (void **)&symbol, RTLD_DL_SYMENT) && symbol && symbol->st_size == TABLE_WORDS * sizeof(void *);
}

static bool patch(void **table)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)table & ~(page - 1);
	uintptr_t last = ((uintptr_t)(table + TABLE_WORDS) + page - 1) & ~(page - 1);

	if (mprotect((void *)first, last - first, PROT_READ | PROT_WRITE) < 0)
		return false;
	table[READ_WORD] = (void *)read_file;
	table[WRITE_WORD] = (void *)write_file;
	table[CLOSE_WORD] = (void *)close_file;
	mprotect((void *)first, last - first, PROT_READ);
	return true;
}

bool cw_stdio_start(void)
{
	void **narrow = dlsym(RTLD_NEXT, "_IO_file_jumps"), **wide = dlsym(RTLD_NEXT, "_IO_wfile_jumps");
	void *known = dlsym(RTLD_NEXT, "_IO_file_read");

	if (!narrow || !wide || !known || !known_size(narrow) || !known_size(wide))
		return false;
	if (narrow[READ_WORD] != known || wide[READ_WORD] != known || narrow[CLOSE_WORD] != wide[CLOSE_WORD] ||
	    narrow[WRITE_WORD] != wide[WRITE_WORD])
		return false;
	*(void **)&libc_read = narrow[READ_WORD];
	*(void **)&libc_write = narrow[WRITE_WORD];
	*(void **)&libc_close = narrow[CLOSE_WORD];
	return patch(narrow) && patch(wide);
}

#endif
