#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "load/load.h"
#include "remap/text.h"
#include "sync/cpu.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

#define MOST_SEGMENTS 128
#define MOST_SCRIPTS  5 /* as the kernel */
#define MOST_NOTES    65536
#define MOST_TEXT     (1u << 30)
#define PART          (1u << 20)
#define OVERLAP       64 /* an instruction is judged by what is around it */

#if defined(__x86_64__)
#define OWN_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define OWN_MACHINE EM_AARCH64
#else
#define OWN_MACHINE EM_NONE
#endif

struct file {
	int fd;
	uint64_t size;
	struct stat status;
	Elf64_Ehdr header;
	Elf64_Phdr segment[MOST_SEGMENTS];
	char interpreter[256];
};

static const struct {
	const char *name, *text;
} ways[] = {
#define X(name, text) {#name, text},
	CW_WAYS(X)
#undef X
};

const char *cw_way_name(enum cw_way way)
{
	return ways[way].name;
}

const char *cw_way_text(enum cw_way way)
{
	return ways[way].text;
}

static void decide(struct cw_program *program, enum cw_way way, const char *why)
{
	program->way = way;
	snprintf(program->why, sizeof(program->why), "%s", why);
}

/* ---- finding, as execvp does it ---- */

static bool executable(const char *path, int *error)
{
	struct stat status;

	if (access(path, X_OK) < 0 || stat(path, &status) < 0) {
		if (errno == EACCES || !*error)
			*error = errno;
		return false;
	}
	if (!S_ISREG(status.st_mode))
		*error = EACCES;
	return S_ISREG(status.st_mode);
}

static bool find(char path[4096], const char *name, int *error)
{
	const char *at = getenv("PATH");

	*error = *name ? 0 : ENOENT;
	if (strchr(name, '/') || !*name) {
		snprintf(path, 4096, "%s", name);
		return *name && executable(path, error);
	}
	for (at = at ? at : "/bin:/usr/bin"; at; at = strchr(at, ':') ? strchr(at, ':') + 1 : NULL) {
		int length = (int)strcspn(at, ":");

		if (snprintf(path, 4096, "%.*s%s%s", length, at, length ? "/" : "", name) < 4096 && executable(path, error))
			return true;
	}
	return false;
}

/* ---- reading: nothing in the file is believed ---- */

static bool read_at(const struct file *file, void *to, size_t size, uint64_t offset)
{
	return offset <= file->size && size <= file->size - offset && pread(file->fd, to, size, (off_t)offset) == (ssize_t)size;
}

static bool read_segments(struct file *file)
{
	const Elf64_Ehdr *header = &file->header;

	return header->e_phentsize == sizeof(Elf64_Phdr) && header->e_phnum && header->e_phnum <= MOST_SEGMENTS &&
	       read_at(file, file->segment, header->e_phnum * sizeof(Elf64_Phdr), header->e_phoff);
}

static const Elf64_Phdr *segment_of(const struct file *file, uint32_t type)
{
	for (int i = 0; i < file->header.e_phnum; i++)
		if (file->segment[i].p_type == type)
			return &file->segment[i];
	return NULL;
}

static bool is_go(const struct file *file)
{
	for (int i = 0; i < file->header.e_phnum; i++) {
		const Elf64_Phdr *segment = &file->segment[i];
		unsigned char *notes;
		bool found;

		if (segment->p_type != PT_NOTE || segment->p_filesz > MOST_NOTES)
			continue;
		notes = malloc(segment->p_filesz + 1);
		found = notes && read_at(file, notes, segment->p_filesz, segment->p_offset) && cw_text_note_of_go(notes, segment->p_filesz);
		free(notes);
		if (found)
			return true;
	}
	return false;
}

static bool text_calls(const struct file *file, uint64_t offset, uint64_t size)
{
	unsigned char *part = malloc(PART);
	bool found = false;

	for (uint64_t at = 0; part && at < size && !found; at += PART - OVERLAP) {
		size_t now = size - at < PART ? (size_t)(size - at) : PART;

		if (!read_at(file, part, now, offset + at))
			break;
		found = cw_text_find_call(part, now) != NULL;
	}
	free(part);
	return found;
}

static bool makes_calls(const struct file *file)
{
	for (int i = 0; i < file->header.e_phnum; i++) {
		const Elf64_Phdr *segment = &file->segment[i];

		if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) && segment->p_filesz <= MOST_TEXT &&
		    text_calls(file, segment->p_offset, segment->p_filesz))
			return true;
	}
	return false;
}

/* A dynamic linker, started by hand, has a name as a library has, and loads what LD_PRELOAD says by itself. */
static bool is_linker(const struct file *file)
{
	const Elf64_Phdr *dynamic = segment_of(file, PT_DYNAMIC);
	Elf64_Dyn entry;

	for (uint64_t at = 0; dynamic && at + sizeof(entry) <= dynamic->p_filesz && at < MOST_NOTES; at += sizeof(entry)) {
		if (!read_at(file, &entry, sizeof(entry), dynamic->p_offset + at) || entry.d_tag == DT_NULL)
			break;
		if (entry.d_tag == DT_SONAME)
			return true;
	}
	return false;
}

/* ---- judging ---- */

/* A program that gets rights by being executed: the dynamic linker loads no library into it that it was not built with. */
static bool gains_rights(const struct cw_program *program, const struct file *file)
{
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1)
		return false;
	if ((file->status.st_mode & S_ISUID) && file->status.st_uid != getuid())
		return true;
	if ((file->status.st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP) && file->status.st_gid != getgid())
		return true;
	return getuid() && getxattr(program->path, "security.capability", NULL, 0) > 0;
}

static bool calls_can_be_caught(void)
{
#if defined(__x86_64__)
	return prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0) == 0;
#else
	return false;
#endif
}

static void judge_raw(struct cw_program *program, enum cw_way way, const char *what, bool raw_calls)
{
	if (!raw_calls)
		snprintf(program->why, sizeof(program->why), "%s, and raw_calls = no", what);
	else if (!calls_can_be_caught())
		snprintf(program->why, sizeof(program->why),
			 "%s, which this kernel can't catch (Syscall User Dispatch: x86-64, Linux 5.11)", what);
	else
		snprintf(program->why, sizeof(program->why), "%s", what);
	program->way = raw_calls && calls_can_be_caught() ? way : CW_WAY_kernel;
}

static void judge_own(struct cw_program *program, struct file *file, bool raw_calls, bool deep)
{
	const Elf64_Phdr *interpreter = segment_of(file, PT_INTERP);
	size_t length = interpreter && interpreter->p_filesz < sizeof(file->interpreter) ? interpreter->p_filesz : 0;

	if (length)
		read_at(file, file->interpreter, length, interpreter->p_offset);
	if (!interpreter && is_linker(file))
		decide(program, CW_WAY_preload, "a dynamic linker, which loads the library beside the program that it is given");
	else if (!interpreter && cw_load_is_elsewhere(&file->header, file->segment))
		decide(program, CW_WAY_kernel,
		       "a static program that was linked to a place of its own: it wants the memory around it for itself");
	else if (!interpreter && is_go(file))
		judge_raw(program, CW_WAY_loader, "a static Go program", raw_calls);
	else if (!interpreter)
		judge_raw(program, CW_WAY_loader, "a static program", raw_calls);
	else if (strstr(file->interpreter, "musl"))
		decide(program, CW_WAY_preload, "a dynamic program of musl, whose linker takes the library for musl, if it is installed");
	else if (!deep)
		decide(program, CW_WAY_preload, "a dynamic program");
	else if (is_go(file))
		judge_raw(program, CW_WAY_raw, "a dynamic Go program, which makes system calls by itself", raw_calls);
	else if (makes_calls(file))
		judge_raw(program, CW_WAY_raw, "a dynamic program with system call instructions of its own", raw_calls);
	else
		decide(program, CW_WAY_preload, "a dynamic program, which makes its system calls by libc");
}

static void judge_elf(struct cw_program *program, struct file *file, bool raw_calls, bool deep)
{
	const Elf64_Ehdr *header = &file->header;

	if (gains_rights(program, file))
		decide(program, CW_WAY_kernel,
		       "it gains rights when it is executed (setuid, setgid, capabilities): no library is loaded into it");
	else if (header->e_ident[EI_CLASS] == ELFCLASS32 && (header->e_machine == EM_386 || header->e_machine == EM_ARM))
		decide(program, CW_WAY_preload,
		       "a program of 32 bits: if it is dynamic and the library for such programs is installed, else not moved");
	else if (header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != OWN_MACHINE)
		decide(program, CW_WAY_kernel, "a program for another machine");
	else if (!read_segments(file))
		decide(program, CW_WAY_kernel, "its headers can't be understood");
	else
		judge_own(program, file, raw_calls, deep);
}

/* The interpreter of a script, as its first line names it. */
static bool script_line(const struct file *file, char interpreter[4096])
{
	char line[256] = "";
	ssize_t got = pread(file->fd, line, sizeof(line) - 1, 0);
	char *at = line + 2;

	if (got < 3 || line[0] != '#' || line[1] != '!')
		return false;
	line[strcspn(line, "\n")] = 0;
	at += strspn(at, " \t");
	at[strcspn(at, " \t")] = 0;
	snprintf(interpreter, 4096, "%s", at);
	return *at;
}

/* True: there is another file to look at, whose path is now program->path. */
static bool look(struct cw_program *program, bool raw_calls, bool deep)
{
	struct file file = {.fd = open(program->path, O_RDONLY | O_CLOEXEC | O_NOCTTY)};
	char next[4096];
	bool again = false;

	if (file.fd < 0 || fstat(file.fd, &file.status) < 0) {
		decide(program, CW_WAY_preload, "it can't be read, and is taken for a dynamic program");
		if (file.fd >= 0)
			close(file.fd);
		return false;
	}
	file.size = (uint64_t)file.status.st_size;
	if (read_at(&file, &file.header, sizeof(file.header), 0) && memcmp(file.header.e_ident, ELFMAG, SELFMAG) == 0) {
		judge_elf(program, &file, raw_calls, deep);
	} else {
		/* What is neither is given to the shell by execvp. */
		if (!script_line(&file, next))
			strcpy(next, "/bin/sh");
		if (!*program->script)
			snprintf(program->script, sizeof(program->script), "%s", program->path);
		snprintf(program->path, sizeof(program->path), "%s", next);
		again = true;
	}
	close(file.fd);
	return again;
}

void cw_program_read(struct cw_program *program, const char *name, bool raw_calls, bool deep)
{
	*program = (struct cw_program){.way = CW_WAY_none};
	if (!find(program->path, name, &program->error)) {
		decide(program, CW_WAY_none, strerror(program->error));
		return;
	}
	for (int i = 0; i < MOST_SCRIPTS; i++) {
		if (!look(program, raw_calls, deep)) {
			if (*program->script && program->way == CW_WAY_loader)
				decide(program, CW_WAY_kernel, "a static program, started by the kernel as the interpreter of a script");
			return;
		}
		if (!executable(program->path, &program->error)) {
			decide(program, CW_WAY_none, strerror(program->error));
			return;
		}
	}
	program->error = ELOOP;
	decide(program, CW_WAY_none, "scripts that are interpreted by scripts, too deeply");
}
