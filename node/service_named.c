/*
 * Windows that an administrator makes: memory with a name, of this node, that other nodes are granted. The owner's service passes the
 * memory (service_windows.c), or says where it is in the device's window (service_device.c); the other's maps it and reads and writes it
 * for those who may command it. No program gets a descriptor, so what is taken back is gone from the other node, as far as its service is
 * to be believed: it has its kernel revoke the grant, whoever has inherited the mapping.
 *
 * With a device all are made there: what lies in a memory file can't be given to another machine.
 *
 * WINDOW_GRANTED comes again each time that the two nodes meet, so that a service that was started anew has what it had.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "service_between.h"
#include "service_named.h"
#include "transport/pci/device.h"
#include "transport/window/window.h"

#define NO_ARENA 0 /* as in service_pulse.c */

struct cw_named *cw_named;

static struct cw_named *find(const struct cw_node *owner, const char *name)
{
	struct cw_named *window;

	DL_FOREACH(cw_named, window)
	if (window->owner == owner && strcmp(window->name, name) == 0)
		return window;
	return NULL;
}

static uint32_t count_of(const struct cw_node *owner)
{
	const struct cw_named *window;
	uint32_t count = 0;

	DL_FOREACH(cw_named, window)
	count += window->owner == owner;
	return count;
}

bool cw_window_name_is_fine(const char name[CW_WINDOW_NAME])
{
	return memchr(name, 0, CW_WINDOW_NAME) && *name &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == strlen(name);
}

static void drop(struct cw_named *window)
{
	DL_DELETE(cw_named, window);
	if (window->at)
		cw_device_take_away(window->number);
	if (window->base)
		munmap(window->base, window->size);
	if (window->fd >= 0)
		close(window->fd);
	free(window);
}

/* ---- this node's ---- */

uint64_t cw_named_size(void)
{
	const struct cw_named *window;
	uint64_t size = 0;

	DL_FOREACH(cw_named, window)
	size += window->owner ? 0 : window->size;
	return size;
}

bool cw_named_lives(const struct cw_named *window)
{
	return !window->at || cw_device_grant_lives(window->fd);
}

/* Whose it was before has left something in it. */
static int make_in_device(struct cw_named *window)
{
	window->fd = cw_device_take(window->size, &window->at, &window->number);
	if (window->fd < 0) {
		window->at = 0;
		return -1;
	}
	window->base = cw_window_map(window->fd, window->size, true);
	if (!window->base)
		return -1;
	memset(window->base, 0, window->size);
	return 0;
}

static int make_memory(struct cw_named *window)
{
	if (cw_device_is_open())
		return make_in_device(window);
	window->fd = memfd_create("causeway window", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (window->fd < 0 || ftruncate(window->fd, (off_t)window->size) < 0 ||
	    fcntl(window->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return -1;
	window->base = cw_window_map(window->fd, window->size, true);
	return window->base ? 0 : -1;
}

int cw_named_make(const char *name, uint64_t size)
{
	struct cw_named *window = calloc(1, sizeof(*window));
	int error;

	if (!window)
		return -1;
	window->fd = -1;
	snprintf(window->name, sizeof(window->name), "%s", name);
	window->size = size;
	window->generation = service.instance;
	DL_APPEND(cw_named, window);
	if (make_memory(window) == 0) {
		cw_named_found(window);
		return 0;
	}
	error = errno;
	drop(window);
	errno = error;
	return -1;
}

static void say(const struct cw_named *window, struct cw_node *node, enum cw_between_kind kind, uint64_t key, bool writable)
{
	struct cw_between words = cw_between_words(kind);

	words.window.key = key;
	words.window.size = window->size;
	words.window.writable = writable;
	words.window.by_device = window->at != 0;
	memcpy(words.window.name, window->name, sizeof(words.window.name));
	cw_between_say(node, &words);
}

/* Who may read alone gets a descriptor that can't be mapped for more. */
static void pass_file(const struct cw_named *window, struct cw_node *node, const struct cw_window_grant *grant)
{
	char path[40];
	uint64_t key;
	int fd;

	if (getrandom(&key, sizeof(key), 0) != sizeof(key))
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", window->fd);
	fd = open(path, (grant->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (fd >= 0 && cw_windows_pass(node, NO_ARENA, key, fd))
		say(window, node, CW_WINDOW_GRANTED, key, grant->writable);
	else
		cw_tally(CW_SERVICE_between_unpassed);
	if (fd >= 0)
		close(fd);
}

/* False: it can't be, now or ever. A node that isn't there is given it when it comes. */
static bool pass(const struct cw_named *window, const struct cw_window_grant *grant)
{
	const struct cw_cluster_node *known = cw_cluster_node(grant->node);
	struct cw_node *node = known && known->up && cw_windows_open() ? cw_node_of_id(grant->node) : NULL;

	if (!node || (window->at && !node->part.length))
		return true;
	if (!window->at)
		pass_file(window, node, grant);
	else if (cw_device_share(node, window->at, window->size))
		say(window, node, CW_WINDOW_GRANTED, window->at, grant->writable);
	else
		return false;
	return true;
}

struct cw_window_grant *cw_named_grant_of(struct cw_named *window, uint64_t node)
{
	for (uint32_t i = 0; i < window->grants; i++)
		if (window->grant[i].node == node)
			return &window->grant[i];
	return NULL;
}

int cw_named_grant(struct cw_named *window, uint64_t node, bool writable)
{
	struct cw_window_grant *grant = cw_named_grant_of(window, node);

	if (!grant && window->grants == CW_ARRAY_SIZE(window->grant)) {
		errno = ENOSPC;
		return -1;
	}
	if (!grant)
		grant = &window->grant[window->grants++];
	*grant = (struct cw_window_grant){.node = node, .writable = writable};
	if (pass(window, grant))
		return 0;
	*grant = window->grant[--window->grants];
	errno = ENOSPC;
	return -1;
}

void cw_named_revoke(struct cw_named *window, uint64_t node)
{
	struct cw_window_grant *grant = cw_named_grant_of(window, node);
	const struct cw_cluster_node *known = cw_cluster_node(node);
	struct cw_node *there = known && known->up ? cw_node_of_id(node) : NULL;

	if (!grant)
		return;
	*grant = window->grant[--window->grants];
	if (!there)
		return;
	say(window, there, CW_WINDOW_REVOKED, 0, false);
	if (window->at)
		cw_device_ask(there);
}

void cw_named_remove(struct cw_named *window)
{
	while (window->grants)
		cw_named_revoke(window, window->grant[0].node);
	drop(window);
}

/* ---- those of other nodes ---- */

static struct cw_named *import(struct cw_node *node, const struct cw_between *words)
{
	bool by_device = words->window.by_device;
	uint32_t number = 0;
	int fd = by_device ? cw_device_reach(node, words->window.key, words->window.size, words->window.writable, 0, &number)
			   : cw_windows_take(node->id, NO_ARENA, words->window.key);
	struct cw_named *window = calloc(1, sizeof(*window));

	if (!window || fd < 0 || cw_window_size(fd) != words->window.size) {
		free(window);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	memcpy(window->name, words->window.name, sizeof(window->name));
	window->owner = node;
	window->size = words->window.size;
	window->fd = fd;
	window->at = by_device ? words->window.key : 0;
	window->number = number;
	window->writable = words->window.writable;
	window->generation = cw_cluster_node(node->id) ? cw_cluster_node(node->id)->instance : 0;
	window->base = cw_window_map(fd, window->size, window->writable);
	DL_APPEND(cw_named, window);
	if (window->base) {
		cw_named_found(window);
		return window;
	}
	drop(window);
	return NULL;
}

void cw_named_granted(struct cw_node *node, const struct cw_between *words)
{
	struct cw_named *before;

	if (!cw_window_name_is_fine(words->window.name)) {
		cw_tally(CW_SERVICE_between_misused);
		return;
	}
	before = find(node, words->window.name);
	if (before)
		drop(before);
	if (count_of(node) >= CW_WINDOWS_NAMED || !import(node, words))
		cw_tally(CW_SERVICE_between_misused);
}

void cw_named_revoked(struct cw_node *node, const struct cw_between *words)
{
	struct cw_named *window = cw_window_name_is_fine(words->window.name) ? find(node, words->window.name) : NULL;

	if (!window)
		return;
	cw_named_lost(window, "its node has taken it back");
	drop(window);
}

/* Again what the node was granted before. */
static void pass_to(const struct cw_node *node, bool of_device_alone)
{
	struct cw_named *window;
	const struct cw_window_grant *grant;

	DL_FOREACH(cw_named, window)
	{
		if (window->owner || (of_device_alone && !window->at))
			continue;
		grant = cw_named_grant_of(window, node->id);
		if (grant)
			pass(window, grant);
	}
}

void cw_named_node_up(struct cw_node *node)
{
	pass_to(node, false);
}

void cw_named_node_down(struct cw_node *node)
{
	struct cw_named *window, *next;

	DL_FOREACH_SAFE(cw_named, window, next)
	if (window->owner == node)
		drop(window);
}

void cw_named_device_up(struct cw_node *node)
{
	pass_to(node, true);
}

void cw_named_device_gone(struct cw_node *node)
{
	struct cw_named *window, *next;

	DL_FOREACH_SAFE(cw_named, window, next)
	if (window->at && (!node || window->owner == node)) {
		cw_named_lost(window, node ? "its node has the device no more, in whose memory it was"
					   : "it was in the device's memory, and the device is gone from this node");
		drop(window);
	}
}

struct cw_named *cw_named_find(uint64_t owner, const char *name)
{
	const struct cw_node *node;

	if (!owner || owner == cw_cluster_self())
		return find(NULL, name);
	node = cw_node_of_id(owner);
	return node ? find(node, name) : NULL;
}

bool cw_named_full(void)
{
	return count_of(NULL) >= CW_WINDOWS_NAMED;
}
