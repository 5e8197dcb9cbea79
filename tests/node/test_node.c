/* The node service, played with. Each test is a process with a service of its own. CAUSEWAYD names the daemon. */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "play.h"

int main(int argc, char **argv)
{
	Suite *suite = suite_create("node");
	struct rlimit files;
	SRunner *runner;
	int failed;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGPIPE, SIG_IGN);
	suite_add_tcase(suite, match_tests());
	suite_add_tcase(suite, flow_tests());
	suite_add_tcase(suite, unix_tests());
	suite_add_tcase(suite, slot_tests());
	suite_add_tcase(suite, memory_tests());
	suite_add_tcase(suite, hostile_tests());
	suite_add_tcase(suite, closing_tests());
	suite_add_tcase(suite, run_tests());
	suite_add_tcase(suite, children_tests());
	suite_add_tcase(suite, policy_tests());
	runner = srunner_create(suite);
	srunner_set_tap(runner, argc > 1 ? argv[1] : NULL);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
