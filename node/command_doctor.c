/* causeway doctor: the checks of command_checks.c, printed. */
#include <stdio.h>

#include "command.h"

static const char *const words[] = {"ok", "note", "missing"};

static void print(const char *name, const struct cw_check *check)
{
	printf("%-8s %-14s %s\n", words[check->finding], name, check->text);
	if (check->advice[0])
		printf("%-23s -> %s\n", "", check->advice);
}

static json_t *as_json(const char *name, const struct cw_check *check)
{
	json_t *object = json_pack("{s:s, s:s, s:s}", "name", name, "finding", words[check->finding], "text", check->text);

	if (check->advice[0])
		json_object_set_new(object, "advice", json_string(check->advice));
	return object;
}

int cw_command_doctor(int argc, char **argv)
{
	struct cw_asking asking = {0};
	json_t *all = json_array();
	bool missing = false;
	int result = cw_read_asking(&asking, argc, argv, "Tell what this machine offers, what is missing, and what to do about it.");

	if (result) {
		json_decref(all);
		return result < 0 ? 2 : 0;
	}
	for (size_t i = 0; i < cw_checks_count; i++) {
		struct cw_check check = {0};

		cw_checks[i].look(&check, &asking);
		missing |= check.finding == CW_MISSING;
		if (asking.json)
			json_array_append_new(all, as_json(cw_checks[i].name, &check));
		else
			print(cw_checks[i].name, &check);
	}
	if (asking.json)
		cw_print_json(all);
	json_decref(all);
	return missing ? 1 : 0;
}
