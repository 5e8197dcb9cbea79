/* Messages of the causeway command that need nothing but the service itself. */
#include <errno.h>
#include <unistd.h>

#include "service.h"

bool cw_may_command(const struct cw_program *sender)
{
	return sender->peer.uid == 0 || sender->peer.uid == geteuid();
}

void cw_stop(struct cw_program *sender, const struct cw_message *message)
{
	struct cw_message answer = cw_link_message(CW_STOP);

	if (cw_may_command(sender)) {
		service.stopping = true;
		return;
	}
	answer.status = EPERM;
	cw_link_send(sender->source.fd, &answer, NULL, 0);
}
