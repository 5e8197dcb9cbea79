/*
 * gRPC in C++: `hello server PORT` and `hello client PORT`. The greeter of the examples, with streams of the server's, of the client's and
 * both ways, many calls at once, messages of megabytes, channels of several threads, errors, deadlines and calls that are given up. The
 * client prints what it found. One source with the generated ones in it, which halves the time to compile.
 */
#include "hello.pb.cc"
#include "hello.grpc.pb.cc"
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <grpcpp/grpcpp.h>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace hello;
using grpc::Status;
using grpc::StatusCode;

#define LARGEST (64 << 20)

[[noreturn]] static void die(const std::string &why)
{
	fprintf(stderr, "%s\n", why.c_str());
	_exit(1);
}

static void need(const Status &status, const char *what)
{
	if (!status.ok())
		die(std::string(what) + ": " + std::to_string(status.error_code()) + " " + status.error_message());
}

static void need(bool holds, const char *what)
{
	if (!holds)
		die(what);
}

/* Another content for each number. */
static std::string content(uint64_t number, size_t size)
{
	std::string text(size, 0);
	uint64_t x = number;

	for (char &byte : text)
		byte = (char)((x = x * 6364136223846793005u + 1442695040888963407u) >> 56);
	return text;
}

static std::string backwards(const std::string &text)
{
	return std::string(text.rbegin(), text.rend());
}

/* FNV-1a of the texts and their sizes. */
class Seen
{
	uint64_t sum = 14695981039346656037u;
	uint64_t texts = 0;

	void byte(unsigned char value)
	{
		sum = (sum ^ value) * 1099511628211u;
	}

      public:
	void add(const std::string &text)
	{
		texts++;
		for (unsigned shift = 0; shift < 64; shift += 8)
			byte((unsigned char)(text.size() >> shift));
		for (char each : text)
			byte((unsigned char)each);
	}
	uint64_t digest() const
	{
		return sum;
	}
	uint64_t count() const
	{
		return texts;
	}
	void print(const char *what) const
	{
		printf("%s: %llu texts, %016llx\n", what, (unsigned long long)texts, (unsigned long long)sum);
	}
};

class Service final : public Greeter::Service
{
	Status Greet(grpc::ServerContext *context, const Text *asked, Text *answer) override
	{
		context->AddTrailingMetadata("size", std::to_string(asked->content().size()));
		answer->set_content(backwards(asked->content()));
		return Status::OK;
	}

	Status Give(grpc::ServerContext *, const Wanted *wanted, grpc::ServerWriter<Text> *out) override
	{
		Text text;

		for (int i = 0; i < wanted->count(); i++) {
			text.set_content(content(i, wanted->size()));
			if (!out->Write(text))
				return Status::CANCELLED;
		}
		return Status::OK;
	}

	Status Take(grpc::ServerContext *, grpc::ServerReader<Text> *in, Digest *answer) override
	{
		Seen seen;
		Text text;

		while (in->Read(&text))
			seen.add(text.content());
		answer->set_texts(seen.count());
		answer->set_digest(seen.digest());
		return Status::OK;
	}

	Status Echo(grpc::ServerContext *, grpc::ServerReaderWriter<Text, Text> *both) override
	{
		Text text;

		while (both->Read(&text)) {
			text.set_content(backwards(text.content()));
			both->Write(text);
		}
		return Status::OK;
	}

	Status Refuse(grpc::ServerContext *, const Text *asked, Text *) override
	{
		return Status(StatusCode::FAILED_PRECONDITION, "as asked: " + asked->content());
	}

	Status Wait(grpc::ServerContext *context, const Text *, Text *) override
	{
		while (!context->IsCancelled())
			std::this_thread::sleep_for(std::chrono::milliseconds(5));
		return Status::CANCELLED;
	}

	Status Count(grpc::ServerContext *, const Text *, grpc::ServerWriter<Text> *out) override
	{
		Text text;

		for (uint64_t number = 0;; number++) {
			text.set_content(std::to_string(number));
			if (!out->Write(text))
				return Status::CANCELLED;
		}
	}
};

static int serve(const std::string &address)
{
	Service service;
	grpc::ServerBuilder builder;
	sigset_t terminated;
	int bound = 0, signal;

	sigemptyset(&terminated);
	sigaddset(&terminated, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &terminated, nullptr);
	builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &bound);
	builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
	builder.SetMaxReceiveMessageSize(LARGEST);
	builder.RegisterService(&service);
	std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
	need(server && bound, "the server does not listen");
	printf("ready\n");
	fflush(stdout);
	sigwait(&terminated, &signal);
	_exit(0); /* Debian's gRPC 1.51 waits for ever now and then in Shutdown, also on kernel TCP */
}

/* A connection of its own: channels of one process share them else. */
static std::unique_ptr<Greeter::Stub> opened(const std::string &address)
{
	grpc::ChannelArguments arguments;

	arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
	arguments.SetMaxReceiveMessageSize(LARGEST);
	return Greeter::NewStub(grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments));
}

static void within(grpc::ClientContext &context, int milliseconds)
{
	context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(milliseconds));
	context.set_wait_for_ready(true);
}

static std::string greet(Greeter::Stub &stub, const std::string &text)
{
	grpc::ClientContext context;
	Text asked, answer;

	within(context, 60000);
	asked.set_content(text);
	need(stub.Greet(&context, asked, &answer), "greet");
	need(answer.content() == backwards(text), "the greeting is another's");
	auto told = context.GetServerTrailingMetadata().find("size");
	need(told != context.GetServerTrailingMetadata().end() && told->second == std::to_string(text.size()), "its size is told");
	return answer.content();
}

static void greetings(Greeter::Stub &stub)
{
	static const size_t sizes[] = {0, 1, 10, 100, 1000, 10, 50000, 3, 1 << 20, 7, 200000, 3 << 20, 1};
	Seen seen;

	seen.add(greet(stub, "hello"));
	for (int turn = 0; turn < 5; turn++)
		for (size_t size : sizes)
			seen.add(greet(stub, content(turn + size, size)));
	seen.print("greetings");
}

static void given(Greeter::Stub &stub, int count, int size)
{
	grpc::ClientContext context;
	Wanted wanted;
	Text text;
	Seen seen;

	within(context, 60000);
	wanted.set_count(count);
	wanted.set_size(size);
	auto in = stub.Give(&context, wanted);
	for (int i = 0; in->Read(&text); i++) {
		need(text.content() == content(i, size), "a text of the server's stream");
		seen.add(text.content());
	}
	need(in->Finish(), "give");
	need(seen.count() == (uint64_t)count, "all texts");
	seen.print("given");
}

static void taken(Greeter::Stub &stub)
{
	grpc::ClientContext context;
	Digest answer;
	Text text;
	Seen seen;

	within(context, 60000);
	auto out = stub.Take(&context, &answer);
	for (int i = 0; i < 600; i++) {
		text.set_content(content(i, i * 37 % 30000));
		seen.add(text.content());
		need(out->Write(text), "the client's stream takes a text");
	}
	out->WritesDone();
	need(out->Finish(), "take");
	need(answer.texts() == 600 && answer.digest() == seen.digest(), "what was taken");
	seen.print("taken");
}

/* Both ways at once: a thread writes while this one reads. */
static void echoed(Greeter::Stub &stub)
{
	grpc::ClientContext context;
	Text text;
	Seen seen;
	int i;

	within(context, 60000);
	auto both = stub.Echo(&context);
	std::thread writer([&both] {
		Text mine;

		for (int n = 0; n < 600; n++) {
			mine.set_content(content(n, n * 41 % 20000));
			need(both->Write(mine), "the stream takes a text");
		}
		both->WritesDone();
	});
	for (i = 0; both->Read(&text); i++) {
		need(text.content() == backwards(content(i, i * 41 % 20000)), "an echo");
		seen.add(text.content());
	}
	writer.join();
	need(both->Finish(), "echo");
	need(i == 600, "all echoes");
	seen.print("echoed");
}

/* Each text an answer to the one before. */
static void turns(Greeter::Stub &stub)
{
	grpc::ClientContext context;
	Text text;
	Seen seen;

	within(context, 60000);
	auto both = stub.Echo(&context);
	for (int i = 0; i < 500; i++) {
		text.set_content("turn " + std::to_string(i));
		need(both->Write(text) && both->Read(&text), "a turn");
		seen.add(text.content());
	}
	both->WritesDone();
	need(both->Finish(), "turns");
	seen.print("turns");
}

/* By a completion queue: all calls are under way before the first answer is taken. */
static void at_once(Greeter::Stub &stub)
{
	struct Call {
		grpc::ClientContext context;
		Text answer;
		Status status;
	};
	std::vector<Call> calls(500);
	grpc::CompletionQueue queue;
	bool good;
	void *tag;
	Seen seen;

	for (size_t i = 0; i < calls.size(); i++) {
		Text asked;

		within(calls[i].context, 60000);
		asked.set_content(content(i, i * 31 % 5000));
		auto call = stub.AsyncGreet(&calls[i].context, asked, &queue);
		call->Finish(&calls[i].answer, &calls[i].status, &calls[i]);
	}
	for (size_t i = 0; i < calls.size(); i++)
		need(queue.Next(&tag, &good) && good, "an answer");
	for (size_t i = 0; i < calls.size(); i++) {
		need(calls[i].status, "a call of many");
		need(calls[i].answer.content() == backwards(content(i, i * 31 % 5000)), "an answer of many");
		seen.add(calls[i].answer.content());
	}
	seen.print("at once");
}

/* Half of them by the first channel, half with one of their own. */
static void threads(const std::string &address, Greeter::Stub &stub)
{
	std::vector<std::thread> all;
	std::vector<Seen> seen(8);

	for (size_t i = 0; i < seen.size(); i++)
		all.emplace_back([&, i] {
			std::unique_ptr<Greeter::Stub> own = i % 2 ? opened(address) : nullptr;

			for (size_t n = 0; n < 30; n++)
				seen[i].add(greet(own ? *own : stub, content(i * 1000 + n, n * 200)));
		});
	for (std::thread &each : all)
		each.join();
	for (Seen &each : seen)
		each.print("thread");
}

static void past_the_deadline(Greeter::Stub &stub)
{
	grpc::ClientContext context;
	Text text;

	within(context, 200);
	Status status = stub.Wait(&context, text, &text);
	printf("deadline: %d\n", status.error_code());
}

/* Given up by another thread while this one waits, and in the middle of a stream. */
static void cancelled(Greeter::Stub &stub)
{
	grpc::ClientContext waits, counts;
	Text text;

	within(waits, 60000);
	std::thread other([&waits] {
		std::this_thread::sleep_for(std::chrono::milliseconds(50));
		waits.TryCancel();
	});
	Status status = stub.Wait(&waits, text, &text);
	other.join();
	printf("cancelled: %d\n", status.error_code());

	within(counts, 60000);
	auto in = stub.Count(&counts, text);
	for (int i = 0; i < 200; i++)
		need(in->Read(&text) && text.content() == std::to_string(i), "a number");
	counts.TryCancel();
	while (in->Read(&text))
		;
	printf("cancelled behind %d: %d\n", 200, in->Finish().error_code());
}

static void refused(Greeter::Stub &stub)
{
	grpc::ClientContext context, to_nobody;
	Text text;

	within(context, 60000);
	text.set_content("now");
	Status status = stub.Refuse(&context, text, &text);
	printf("refused: %d %s\n", status.error_code(), status.error_message().c_str());
	std::unique_ptr<Greeter::Stub> nobody = opened("127.0.0.1:1");
	printf("nobody: %d\n", nobody->Greet(&to_nobody, text, &text).error_code());
}

static int ask(const std::string &address)
{
	std::unique_ptr<Greeter::Stub> stub = opened(address);

	greetings(*stub);
	given(*stub, 3000, 100);
	given(*stub, 20, 1000000);
	taken(*stub);
	echoed(*stub);
	turns(*stub);
	at_once(*stub);
	past_the_deadline(*stub);
	cancelled(*stub);
	refused(*stub);
	threads(address, *stub);
	turns(*stub);
	fflush(stdout);
	_exit(0); /* as the server */
}

/* A stream that the end of the server ends. */
static int until_the_end(const std::string &address)
{
	std::unique_ptr<Greeter::Stub> stub = opened(address);
	grpc::ClientContext context;
	uint64_t number = 0;
	Text text;

	within(context, 60000);
	auto in = stub->Count(&context, text);
	for (; in->Read(&text); number++) {
		need(text.content() == std::to_string(number), "a number");
		if (number == 1000) {
			printf("counting\n");
			fflush(stdout);
		}
	}
	printf("the end: %d\n", in->Finish().error_code());
	fflush(stdout);
	_exit(number > 1000 ? 0 : 1);
}

/* Calls a second, one after the other: for benchmarks/applications. */
static int measure(const std::string &address, double seconds)
{
	std::unique_ptr<Greeter::Stub> stub = opened(address);
	std::string text = content(0, 100);
	unsigned long calls = 0;

	greet(*stub, text);
	auto begin = std::chrono::steady_clock::now();
	std::chrono::duration<double> passed{0};
	for (; passed.count() < seconds; passed = std::chrono::steady_clock::now() - begin, calls++)
		greet(*stub, text);
	printf("%.1f calls a second\n", (double)calls / passed.count());
	fflush(stdout);
	_exit(0);
}

int main(int argc, char **argv)
{
	need(argc >= 3, "usage: hello server|client|until-end|measure PORT [SECONDS]");
	std::string address = std::string("127.0.0.1:") + argv[2], role = argv[1];

	if (role == "server")
		return serve(address);
	if (role == "until-end")
		return until_the_end(address);
	if (role == "measure")
		return measure(address, argc > 3 ? atof(argv[3]) : 1);
	return ask(address);
}
