/* WINDOW: an administrator makes, grants, takes back, reads and writes windows. Answered with JSON, or a memory file of what was read. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "service_named.h"

struct act {
	struct cw_message question;
	char name[CW_WINDOW_NAME], node[CW_CLUSTER_NAME];
	struct cw_named *window;
	uint64_t other; /* the node that was named */
	int fd;         /* of WRITE */
	json_t *said;
	int answer; /* of READ */
};

__attribute__((format(printf, 3, 4))) static bool refuse(struct act *act, int error, const char *format, ...)
{
	char why[200];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why, sizeof(why), format, arguments);
	va_end(arguments);
	json_object_set_new(act->said, "why", json_string(why));
	json_object_set_new(act->said, "errno", json_integer(error));
	return false;
}

static bool is_dry(const struct act *act)
{
	return act->question.window.flags & CW_WINDOW_DRY_RUN;
}

static bool find_node(struct act *act)
{
	for (uint32_t i = 0; i < cw_cluster_count(); i++)
		if (strcmp(cw_cluster_node_at(i)->name, act->node) == 0) {
			act->other = cw_cluster_node_at(i)->id;
			return true;
		}
	return refuse(act, ENOENT, "there is no node %s in the cluster: causeway nodes lists them", act->node);
}

/* Of READ and WRITE the node is the owner, and this one where none is named. */
static bool find_window(struct act *act, bool anywhere)
{
	const char *why;

	if (anywhere && *act->node && !find_node(act))
		return false;
	act->window = cw_named_find(anywhere ? act->other : 0, act->name);
	if (act->window)
		return true;
	why = cw_named_why(anywhere ? act->other : 0, act->name);
	if (why)
		return refuse(act, ENOENT, "there is no window %s any more: %s", act->name, why);
	if (anywhere && act->other && act->other != cw_cluster_self())
		return refuse(act, ENOENT, "node %s has granted this node no window %s, or is not up", act->node, act->name);
	return refuse(act, ENOENT, "this node has made no window %s", act->name);
}

static json_t *holders_of(const struct cw_named *window)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < window->grants; i++) {
		const struct cw_cluster_node *node = cw_cluster_node(window->grant[i].node);

		json_array_append_new(list, json_string(node ? node->name : "(a node that has left)"));
	}
	return list;
}

static bool create(struct act *act)
{
	uint64_t size = act->question.window.at, page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (cw_named_find(0, act->name))
		return refuse(act, EEXIST, "there is a window %s already", act->name);
	if (cw_named_full())
		return refuse(act, ENOSPC, "this node has %d windows, and no more are possible", CW_WINDOWS_NAMED);
	if (!size || size > service.memory || (size + page - 1) / page * page + cw_named_size() > service.memory)
		return refuse(act, ENOMEM, "the windows of this node may have %llu bytes in all (--memory), and have %llu",
			      (unsigned long long)service.memory, (unsigned long long)cw_named_size());
	size = (size + page - 1) / page * page;
	json_object_set_new(act->said, "size", json_integer((json_int_t)size));
	if (cw_device_is_open() && !cw_device_has_room(size))
		return refuse(act, ENOSPC, "this node's part of %s has no %llu bytes in one piece", cw_device_name(),
			      (unsigned long long)size);
	return is_dry(act) || cw_named_make(act->name, size) == 0 || refuse(act, errno, "no memory: %s", strerror(errno));
}

static bool do_remove(struct act *act)
{
	if (!find_window(act, false))
		return false;
	json_object_set_new(act->said, "breaks", holders_of(act->window));
	if (act->window->grants && !(act->question.window.flags & CW_WINDOW_FORCE) && !is_dry(act))
		return refuse(act, EBUSY, "other nodes are granted it, and would lose it (--force)");
	if (!is_dry(act))
		cw_named_remove(act->window);
	return true;
}

static bool grant(struct act *act)
{
	if (!find_window(act, false) || !find_node(act))
		return false;
	if (act->other == cw_cluster_self())
		return refuse(act, EINVAL, "%s is this node itself", act->node);
	if (!cw_windows_open())
		return refuse(
			act, EOPNOTSUPP,
			"this service shares no memory with other nodes: it was started without --device and --windows, or has none now");
	if (!act->window->at && !cw_windows_files())
		return refuse(act, EOPNOTSUPP,
			      "it is in this machine's own memory, made when there was no device: remove it, and make it again");
	if (is_dry(act) || cw_named_grant(act->window, act->other, act->question.window.flags & CW_WINDOW_WRITABLE) == 0)
		return true;
	return refuse(act, errno, "it can't be granted: %s", strerror(errno));
}

/* Of memory that programs use there is no list in the question: its number, as `causeway windows` prints it. */
static bool take_back(struct act *act)
{
	const struct cw_window_taking taking = {
		.name = act->name, .force = act->question.window.flags & CW_WINDOW_FORCE, .dry = is_dry(act)};
	char why[CW_WINDOW_WHY];
	int error;

	if (!*act->node) {
		error = cw_window_take(&taking, act->said, why);
		return !error || refuse(act, error, "%s", why);
	}
	if (!find_window(act, false) || !find_node(act))
		return false;
	if (!cw_named_grant_of(act->window, act->other))
		return refuse(act, ENOENT, "node %s is not granted it", act->node);
	json_object_set_new(act->said, "breaks", json_pack("[s]", act->node));
	if (!is_dry(act))
		cw_named_revoke(act->window, act->other);
	return true;
}

static bool in_window(struct act *act)
{
	uint64_t at = act->question.window.at, length = act->question.window.length;

	if (at <= act->window->size && length <= act->window->size - at && length <= CW_WINDOW_PIECE)
		return true;
	return refuse(act, ERANGE, "the window ends at %llu", (unsigned long long)act->window->size);
}

/* It shows zeros since, and nobody reads what is written. */
static bool is_there(struct act *act)
{
	return cw_named_lives(act->window) ||
	       refuse(act, EIO, "window %s was taken away from this node: its grant by %s was revoked, or the device is gone", act->name,
		      cw_device_name());
}

static bool do_read(struct act *act)
{
	if (!find_window(act, true))
		return false;
	/* As much as there is. */
	if (act->question.window.at <= act->window->size && act->question.window.length > act->window->size - act->question.window.at)
		act->question.window.length = (uint32_t)(act->window->size - act->question.window.at);
	if (!in_window(act))
		return false;
	act->answer = memfd_create("causeway answer", MFD_CLOEXEC);
	if (act->answer >= 0 && write(act->answer, act->window->base + act->question.window.at, act->question.window.length) ==
					(ssize_t)act->question.window.length)
		return is_there(act);
	return refuse(act, ENOMEM, "no memory");
}

/* Memory files alone: reading another could block. */
static bool do_write(struct act *act)
{
	if (!find_window(act, true) || !in_window(act))
		return false;
	if (act->window->owner && !act->window->writable)
		return refuse(act, EROFS, "node %s has granted it for reading alone", act->node);
	if (act->fd < 0 || fcntl(act->fd, F_GET_SEALS) < 0)
		return refuse(act, EINVAL, "what is to be written did not come with the question");
	if (is_dry(act) || pread(act->fd, act->window->base + act->question.window.at, act->question.window.length, 0) ==
				   (ssize_t)act->question.window.length)
		return is_there(act);
	return refuse(act, EIO, "it could not be written whole");
}

static bool (*const acts[CW_WINDOW_ACTS])(struct act *act) = {
	[CW_WINDOW_CREATE] = create,    [CW_WINDOW_REMOVE] = do_remove, [CW_WINDOW_GRANT] = grant,
	[CW_WINDOW_REVOKE] = take_back, [CW_WINDOW_READ] = do_read,     [CW_WINDOW_WRITE] = do_write,
};

static bool perform(struct act *act)
{
	uint32_t which = act->question.window.act;

	memcpy(act->name, act->question.window.name, sizeof(act->name));
	memcpy(act->node, act->question.window.node, sizeof(act->node));
	if (which >= CW_WINDOW_ACTS || !acts[which] || !memchr(act->node, 0, sizeof(act->node)))
		return refuse(act, EINVAL, "this service doesn't know that");
	if (!cw_window_name_is_fine(act->name))
		return refuse(act, EINVAL, "a window's name has letters, digits, '-', '.' and '_', less than %d of them", CW_WINDOW_NAME);
	return acts[which](act);
}

/* What was read, or what is known of what was done or refused. */
static int answer_of(const struct act *act)
{
	int file = act->answer;

	if (file >= 0)
		return file;
	file = memfd_create("causeway answer", MFD_CLOEXEC);
	if (file >= 0 && json_dumpfd(act->said, file, JSON_INDENT(1)) < 0) {
		close(file);
		file = -1;
	}
	return file;
}

void cw_window_asked(struct cw_program *sender, const struct cw_message *message, int fd)
{
	struct cw_message answer = cw_link_message(CW_WINDOW);
	struct act act = {.question = *message, .fd = fd, .said = json_object(), .answer = -1};
	int file;

	if (!cw_may_command(sender))
		refuse(&act, EPERM, "only root and the service's owner may do that");
	else
		perform(&act);
	answer.status = (uint32_t)json_integer_value(json_object_get(act.said, "errno"));
	if (answer.status && act.answer >= 0) {
		close(act.answer);
		act.answer = -1;
	}
	file = answer_of(&act);
	if (file < 0)
		answer.status = ENOMEM;
	cw_link_send(sender->source.fd, &answer, &file, file >= 0);
	if (file >= 0)
		close(file);
	json_decref(act.said);
}
