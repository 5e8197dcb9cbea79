/* causeway run --explain: what would be done with a program, and why. Nothing is started. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "program.h"
#include "sockets/policy.h"

static bool excluded(const struct cw_program *program, struct cw_policy *policy)
{
	const char *path = program->path, *slash = strrchr(path, '/');

	return cw_policy_read(policy, NULL, slash ? slash + 1 : path, environ) == 0 && policy->program_excluded;
}

static void judge_policy(struct cw_program *program)
{
	struct cw_policy policy = {0};
	bool by_program = excluded(program, &policy);

	if (program->way == CW_WAY_none || program->way == CW_WAY_kernel || (!by_program && policy.number[CW_OPTION_move]))
		return;
	program->way = CW_WAY_kernel;
	strcpy(program->why, by_program ? "the policy excludes this program" : "moving is switched off (move = no, or --no-move)");
}

static void print_text(const struct cw_program *program)
{
	if (*program->script)
		printf("%s: a script of %s\n", program->script, program->path);
	printf("%s: %s\n", program->path, program->why);
	printf("  %s\n", cw_way_text(program->way));
}

static void print_json(const struct cw_program *program)
{
	json_t *text = json_pack("{ss, ss, ss, ss}", "program", program->path, "way", cw_way_name(program->way), "why", program->why,
				 "means", cw_way_text(program->way));

	if (*program->script)
		json_object_set_new(text, "script", json_string(program->script));
	cw_print_json(text);
	json_decref(text);
}

int cw_explain(const char *name, bool raw_calls, bool json)
{
	struct cw_program program;

	cw_program_read(&program, name, raw_calls, true);
	judge_policy(&program);
	if (json)
		print_json(&program);
	else
		print_text(&program);
	if (program.way != CW_WAY_none)
		return 0;
	return program.error == ENOENT ? CW_EXIT_NOT_FOUND : CW_EXIT_NOT_EXECUTABLE;
}
