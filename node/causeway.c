/* The causeway command: picks the subcommand. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "transport/shm/slot.h"
#include "version.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *text;
} commands[] = {
	{"run", cw_command_run, "run a program; its connections on this node move to shared memory"},
	{"ss", cw_command_ss, "list the sockets of running programs: moved, or why not"},
	{"doctor", cw_command_doctor, "what this machine offers, what is missing, and what to do about it"},
	{"status", cw_command_status, "what the node service has done"},
	{"nodes", cw_command_nodes, "the other nodes of this node's cluster: up, or why not"},
	{"windows", cw_command_windows, "list the memory that streams go by; make, grant, read and write windows"},
	{"topology", cw_command_topology, "a picture of the nodes, this one's memory nodes, and the windows between them"},
	{"cluster", cw_command_cluster, "make a cluster of nodes, join and leave one"},
	{"stop", cw_command_stop, "end the node service; what is moved goes on"},
};

void cw_complain(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "causeway: ");
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fprintf(stderr, "\n");
}

static void print_help(void)
{
	printf("Usage: causeway COMMAND [OPTIONS]\nTCP of unmodified programs through shared memory.\n\n");
	for (size_t i = 0; i < CW_ARRAY_SIZE(commands); i++)
		printf("  %-10s%s\n", commands[i].name, commands[i].text);
	printf("\n`causeway COMMAND --help` tells more; so does causeway(1).\n");
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		print_help();
		return CW_EXIT_FAILED;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		print_help();
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("causeway %s, layout %u\n", CW_VERSION, CW_LAYOUT);
		return 0;
	}
	for (size_t i = 0; i < CW_ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	cw_complain("there is no command %s: causeway --help lists them", argv[1]);
	return CW_EXIT_FAILED;
}
