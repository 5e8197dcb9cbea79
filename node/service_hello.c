/* The first message of a program: it gets its book, and a forked child the slots of its parent. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "service.h"

static void refuse(struct cw_program *program, int error)
{
	struct cw_message answer = cw_link_message(CW_WELCOME);

	answer.status = (uint32_t)error;
	cw_link_send(program->source.fd, &answer, NULL, 0);
}

void cw_refuse_layout(struct cw_program *program)
{
	cw_tally(CW_SERVICE_other_layout);
	refuse(program, EOVERFLOW);
}

bool cw_program_silent(const struct cw_program *program)
{
	return program->parent && program->pid == program->peer.pid;
}

/*
 * A parent connects for its child before it forks, so the kernel names the parent as the one who connected: by its process id, and by a
 * user that may have changed since the parent said hello, but not to another than root's.
 */
static struct cw_program *find_parent(const struct cw_program *program, uint64_t number)
{
	struct cw_program *parent;

	HASH_FIND(hh, service.programs, &number, sizeof(number), parent);
	if (!parent)
		return NULL;
	/* Of a child that has not spoken yet the process isn't known: there the user must be its own, or anybody could say to be its child.
	 */
	if (parent->peer.uid == program->peer.uid)
		return parent->pid == program->peer.pid || cw_program_silent(parent) ? parent : NULL;
	return parent->peer.uid == 0 && parent->pid == program->peer.pid && !cw_program_silent(parent) ? parent : NULL;
}

/* Printable ASCII, for terminals and JSON. */
static void take_name(struct cw_program *program, const struct cw_message *hello)
{
	size_t i;

	for (i = 0; i < sizeof(hello->hello.command) && hello->hello.command[i]; i++) {
		char c = hello->hello.command[i];

		program->command[i] = c >= ' ' && c <= '~' ? c : '?';
	}
	program->command[i] = 0;
}

static int become_program(struct cw_program *program, const struct cw_message *hello, int *book)
{
	struct cw_program *parent = NULL;

	if (hello->hello.parent && !(parent = find_parent(program, hello->hello.parent)))
		return EPERM;
	program->book = cw_book_make(book);
	if (!program->book)
		return ENOSPC;
	program->number = cw_new_number();
	take_name(program, hello);
	HASH_ADD(hh, service.programs, number, sizeof(program->number), program);
	cw_run_join(program, hello->hello.run);
	if (!parent)
		return 0;
	program->parent = parent->number;
	return cw_mappings_inherit(program, parent) < 0 ? ENOSPC : 0;
}

static uint32_t mail_of(uint64_t number)
{
	struct cw_program *parent;

	HASH_FIND(hh, service.programs, &number, sizeof(number), parent);
	return parent ? parent->grants : 0;
}

void cw_hello(struct cw_program *program, const struct cw_message *message)
{
	struct cw_message answer = cw_link_message(CW_WELCOME);
	int fds[2] = {-1, service.node_page}, error;

	if (program->number) {
		/* A child says that it is there now: who sends is in the message's credentials. */
		take_name(program, message);
		return;
	}
	error = become_program(program, message, &fds[0]);
	if (error) {
		cw_tally(CW_SERVICE_programs_refused);
		refuse(program, error);
		if (program->number)
			cw_program_end(program);
	} else {
		cw_tally(CW_SERVICE_programs);
		answer.welcome.number = program->number;
		answer.welcome.book_size = sizeof(struct cw_book);
		answer.welcome.node_size = sizeof(struct cw_node_page);
		answer.welcome.inherited = mail_of(program->parent);
		cw_link_send(program->source.fd, &answer, fds, 2);
	}
	if (fds[0] >= 0)
		close(fds[0]);
}
