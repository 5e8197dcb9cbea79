/* The memory in which children count that have nothing to say (sockets/children.h), and what is in it when none of them is left. */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service.h"
#include "totals.h"

static void give(struct cw_program *sender, int fd)
{
	struct cw_message answer = cw_link_message(CW_CHILDREN);

	answer.status = fd < 0 ? ENOSPC : sender->run ? 0 : ESRCH;
	cw_link_send(sender->source.fd, &answer, &fd, answer.status ? 0 : 1);
	if (fd >= 0)
		close(fd);
}

void cw_children_asked(struct cw_program *sender, const struct cw_message *message)
{
	int fd;

	if (sender->number || sender->children || sender->run) {
		cw_nonsense(sender);
		return;
	}
	sender->children = cw_book_room("causeway children", sizeof(*sender->children), &fd);
	if (sender->children)
		cw_run_join(sender, message->run.run);
	if (!sender->run)
		cw_children_drop(sender);
	give(sender, fd);
}

void cw_children_drop(struct cw_program *program)
{
	if (program->children)
		munmap(program->children, sizeof(*program->children));
	program->children = NULL;
}

uint32_t cw_children_executed(const struct cw_children *children)
{
	uint32_t executed = atomic_load_explicit(&children->executed, memory_order_acquire);

	return executed < CW_CHILD_EXECUTED ? executed : CW_CHILD_EXECUTED;
}

void cw_children_add(struct cw_totals *totals, const struct cw_children_memory *memory)
{
	const struct cw_children *children = &memory->head;

	totals->processes += atomic_load_explicit(&children->begun, memory_order_relaxed);
	cw_totals_add_ended(totals, &children->totals);
	for (uint32_t i = 0; i < CW_CHILD_PLACES; i++) {
		uint32_t pid = atomic_load_explicit(&children->pid[i], memory_order_acquire);

		if (pid && pid != CW_CHILD_LEAVES)
			cw_totals_add(totals, (const struct cw_book *)memory->book[i], CW_CHILD_ENTRIES, 0);
	}
}
