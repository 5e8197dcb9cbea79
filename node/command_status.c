/* causeway status and causeway stop. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

#define END_MS 5000

static void print_object(const json_t *object, const char *indent)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)object, key, value)
	{
		if (json_is_object(value)) {
			printf("%s%s\n", indent, key);
			print_object(value, "  ");
		} else if (json_is_string(value)) {
			printf("%s%-20s%s\n", indent, key, json_string_value(value));
		} else {
			printf("%s%-20s%" JSON_INTEGER_FORMAT "\n", indent, key, json_integer_value(value));
		}
	}
}

static void print_status(const json_t *status)
{
	print_object(status, "");
}

int cw_command_status(int argc, char **argv)
{
	struct cw_asking asking = {0};
	int result = cw_read_asking(&asking, argc, argv, "Print what the node service is, holds and has done.");

	if (result)
		return result < 0 ? 2 : 0;
	return cw_show(&asking, CW_STATUS, print_status);
}

/* The end of the connection is the end of the service; a refusal is a message. */
static int wait_for_the_end(int fd)
{
	struct cw_received answer = {0};

	if (cw_link_answer(fd, CW_STOP, &answer, END_MS)) {
		cw_complain("the service is not stopped: %s", strerror((int)answer.message.status));
		return 1;
	}
	if (errno == ECONNRESET)
		return 0;
	cw_complain("the service does not end: %s", strerror(errno));
	return 1;
}

int cw_command_stop(int argc, char **argv)
{
	struct cw_asking asking = {0};
	struct cw_message stop = cw_link_message(CW_STOP);
	char name[100], why[200] = "";
	int result = cw_read_asking(&asking, argc, argv, "End the node service. Moved connections go on; new ones stay on kernel TCP."), fd;

	if (result)
		return result < 0 ? 2 : 0;
	fd = cw_service_find(asking.service, name, why);
	if (fd < 0) {
		cw_complain("%s", why);
		return 1;
	}
	if (cw_link_send(fd, &stop, NULL, 0) < 0) {
		cw_complain("%s: %s", name, strerror(errno));
		result = 1;
	} else {
		result = wait_for_the_end(fd);
	}
	close(fd);
	return result;
}
