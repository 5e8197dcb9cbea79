/* What two kernels have counted of one connection goes together, and of two does not. */
#include <check.h>
#include <stdlib.h>

#include "node/service_between.h"

struct cw_service service; /* causewayd's */

static const struct cw_stream_counts before = {
	.sent = 1000, .acknowledged = 901, .received = 500, .scale_out = 7, .scale_in = 9, .options = 7};
static const struct cw_stream_counts there = {
	.sent = 600, .acknowledged = 500, .received = 950, .scale_out = 9, .scale_in = 7, .options = 7};
static const struct cw_stream_counts after = {
	.sent = 1200, .acknowledged = 1000, .received = 600, .scale_out = 7, .scale_in = 9, .options = 7};

START_TEST(one_connection_agrees)
{
	ck_assert(cw_counts_agree(&before, &there, &after));
}
END_TEST

START_TEST(another_one_does_not)
{
	struct cw_stream_counts other[7];

	for (unsigned i = 0; i < 7; i++)
		other[i] = there;
	other[0].received = 890;  /* less than was acknowledged */
	other[1].received = 1210; /* more than was sent */
	other[2].sent = 490;      /* less than was received */
	other[3].acknowledged = 610;
	other[4].scale_in = 9;
	other[5].scale_out = 7;
	other[6].options = 3;
	for (unsigned i = 0; i < 7; i++)
		ck_assert_msg(!cw_counts_agree(&before, &other[i], &after), "%u", i);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("counts");
	TCase *tests = tcase_create("counts");
	SRunner *runner;
	int failed;

	tcase_add_test(tests, one_connection_agrees);
	tcase_add_test(tests, another_one_does_not);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
