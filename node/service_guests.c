/*
 * Guests: processes that may need the service later. `causeway run` makes sure that one is there, and becomes a command that perhaps
 * connects to nothing for hours; a service that ends when it is idle waits for the end of that process too.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "service.h"

struct guest {
	struct cw_source source; /* pidfd */
	struct cw_user *user;    /* counted as one connection of his */
	struct guest *next, *prev;
};

static struct guest *guests;

static void forget(struct guest *guest)
{
	DL_DELETE(guests, guest);
	cw_user_leave(guest->user);
	close(guest->source.fd);
	free(guest);
}

static void guest_ended(struct cw_source *source, uint32_t events)
{
	cw_loop_remove(source);
	forget((struct guest *)source);
}

void cw_guest(const struct cw_program *client)
{
	struct guest *guest;

	if (!service.idle_ns || client->peer.pid <= 0)
		return;
	guest = calloc(1, sizeof(*guest));
	if (!guest)
		return;
	guest->source = (struct cw_source){.fd = pidfd_open(client->peer.pid, 0), .ready = guest_ended};
	guest->user = guest->source.fd >= 0 ? cw_user_enter(client->peer.uid) : NULL;
	if (!guest->user) {
		if (guest->source.fd >= 0)
			close(guest->source.fd);
		free(guest);
		return;
	}
	DL_APPEND(guests, guest);
	if (cw_loop_add(&guest->source, EPOLLIN) < 0)
		forget(guest);
}
