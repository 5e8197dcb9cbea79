/*
 * Memory from node to node where both are on one machine: network namespaces, containers that share a directory. Each service has a
 * socket in the directory, named by its node's id; who wants to give memory connects there and sends a sealed memory file. A file in the
 * directory itself would do to share memory, but who maps a file can be killed by whoever truncates it (SIGBUS); what is sealed keeps its
 * size, and its last user's end frees it.
 *
 * The socket is guarded by the directory's modes and the sender's user; that the memory is of the node that it says is proved by a key
 * that the channel between the services tells (GIVE).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "service_between.h"
#include "service_channel.h"
#include "transport/window/window.h"

#define MOST_WAITING 256 /* passed, and not taken up by a GIVE */
#define MOST_LINKS   (2 * CW_CLUSTER_NODES)

struct passed {
	uint32_t magic, unused; /* as on the channel */
	uint64_t node, arena, key;
};

static char directory[80];
static struct cw_source door = {.fd = -1};

static struct link {
	struct cw_source source;
	bool used;
} links[MOST_LINKS];

static struct {
	struct passed words;
	int fd;
} waiting[MOST_WAITING];
static unsigned count, oldest;

int cw_windows_set(const char *path)
{
	if (!*path || strlen(path) >= sizeof(directory)) {
		fprintf(stderr, "causewayd: --windows takes a directory with a name of less than %zu characters\n", sizeof(directory));
		return -1;
	}
	strcpy(directory, path);
	return 0;
}

bool cw_windows_files(void)
{
	return door.fd >= 0;
}

bool cw_windows_open(void)
{
	return cw_windows_files() || cw_device_is_open();
}

static socklen_t address_of(uint64_t node, struct sockaddr_un *address)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	snprintf(address->sun_path, sizeof(address->sun_path), "%s/%016llx", directory, (unsigned long long)node);
	return sizeof(*address);
}

/* ---- giving ---- */

static int connect_to(uint64_t node)
{
	struct sockaddr_un address;
	socklen_t length = address_of(node, &address);
	struct ucred peer = {.uid = (uid_t)-1};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, length) == 0 && cw_link_peer(fd, &peer) &&
	    (peer.uid == 0 || peer.uid == geteuid()))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool send_memory(int fd, const struct passed *words, int memory)
{
	struct iovec iov = {(void *)words, sizeof(*words)};
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room)};

	memcpy(CMSG_DATA(&control.header), &memory, sizeof(memory));
	return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(*words);
}

bool cw_windows_pass(struct cw_node *node, uint64_t arena, uint64_t key, int fd)
{
	struct passed words = {.magic = CW_BETWEEN_MAGIC + CW_LAYOUT, .node = cw_cluster_self(), .arena = arena, .key = key};

	for (int tries = 0; cw_windows_files() && tries < 2; tries++) {
		if (node->link < 0)
			node->link = connect_to(node->id);
		if (node->link < 0)
			return false;
		if (send_memory(node->link, &words, fd))
			return true;
		close(node->link); /* of a service that has ended: its successor may be there */
		node->link = -1;
	}
	return false;
}

/* ---- getting ---- */

static void keep(const struct passed *words, int fd)
{
	unsigned place = count;

	if (count < MOST_WAITING) {
		count++;
	} else {
		place = oldest++ % MOST_WAITING;
		close(waiting[place].fd);
	}
	waiting[place].words = *words;
	waiting[place].fd = fd;
}

/* As many as there are. False at the end of the link. */
static bool read_link(int fd)
{
	for (;;) {
		struct passed words;
		struct iovec iov = {&words, sizeof(words)};
		union {
			struct cmsghdr header;
			char room[CMSG_SPACE(4 * sizeof(int))];
		} control;
		struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control.room)};
		ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int memory[4];
		unsigned fds = 0;

		if (got < 0)
			return errno == EAGAIN || errno == EINTR;
		for (struct cmsghdr *h = CMSG_FIRSTHDR(&message); h; h = CMSG_NXTHDR(&message, h))
			if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) {
				fds = (unsigned)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
				memcpy(memory, CMSG_DATA(h), fds * sizeof(int));
			}
		if (got == sizeof(words) && fds == 1 && words.magic == CW_BETWEEN_MAGIC + CW_LAYOUT && cw_window_size(memory[0])) {
			keep(&words, memory[0]);
			continue;
		}
		while (fds)
			cw_close_foreign(NULL, memory[--fds]);
		if (got == 0)
			return false;
		cw_tally(CW_SERVICE_between_misused);
	}
}

static void end_link(struct link *link)
{
	cw_loop_remove(&link->source);
	close(link->source.fd);
	link->used = false;
}

static void link_ready(struct cw_source *source, uint32_t events)
{
	struct link *link = (struct link *)source;

	if (link->used && !read_link(source->fd))
		end_link(link);
}

static struct link *free_link(void)
{
	for (unsigned i = 0; i < MOST_LINKS; i++)
		if (!links[i].used)
			return &links[i];
	return NULL;
}

static void door_ready(struct cw_source *source, uint32_t events)
{
	int fd;

	while ((fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		struct ucred peer = {.uid = (uid_t)-1};
		struct link *link = free_link();

		if (!link || !cw_link_peer(fd, &peer) || (peer.uid != 0 && peer.uid != geteuid())) {
			close(fd);
			continue;
		}
		*link = (struct link){.source = {.fd = fd, .ready = link_ready}, .used = true};
		if (cw_loop_add(&link->source, EPOLLIN) < 0) {
			close(fd);
			link->used = false;
		}
	}
}

int cw_windows_take(uint64_t node, uint64_t arena, uint64_t key)
{
	if (!cw_windows_files())
		return -1;
	/* It was sent before the word that brings us here, so it is in a queue by now. */
	door_ready(&door, EPOLLIN);
	for (unsigned i = 0; i < MOST_LINKS; i++)
		if (links[i].used)
			link_ready(&links[i].source, EPOLLIN);
	for (unsigned i = 0; i < count; i++) {
		int fd = waiting[i].fd;

		if (waiting[i].words.node != node || waiting[i].words.arena != arena || waiting[i].words.key != key)
			continue;
		waiting[i] = waiting[--count];
		return fd;
	}
	return -1;
}

/* What it has passed was for words that don't come any more. */
void cw_windows_node_down(struct cw_node *node)
{
	if (node->link >= 0)
		close(node->link);
	node->link = -1;
	for (unsigned i = 0; i < count;)
		if (waiting[i].words.node == node->id) {
			close(waiting[i].fd);
			waiting[i] = waiting[--count];
		} else {
			i++;
		}
}

int cw_windows_begin(void)
{
	struct sockaddr_un address;
	socklen_t length;
	mode_t mask;
	int bound;

	cw_device_begin();
	if (!*directory || !cw_cluster_self() || door.fd >= 0)
		return 0;
	length = address_of(cw_cluster_self(), &address);
	door.ready = door_ready;
	door.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlink(address.sun_path); /* of an earlier instance */
	mask = umask(077);
	bound = door.fd >= 0 ? bind(door.fd, (struct sockaddr *)&address, length) : -1;
	umask(mask);
	if (bound == 0 && listen(door.fd, MOST_LINKS) == 0 && cw_loop_add(&door, EPOLLIN) == 0)
		return 0;
	cw_cluster_log("can't share memory through %s: %s", directory, strerror(errno));
	if (door.fd >= 0)
		close(door.fd);
	door.fd = -1;
	return -1;
}

void cw_windows_end(void)
{
	struct sockaddr_un address;

	cw_device_end();
	if (door.fd < 0)
		return;
	address_of(cw_cluster_self(), &address);
	unlink(address.sun_path);
	cw_loop_remove(&door);
	close(door.fd);
	door.fd = -1;
	for (unsigned i = 0; i < MOST_LINKS; i++)
		if (links[i].used)
			end_link(&links[i]);
	while (count)
		close(waiting[--count].fd);
}
