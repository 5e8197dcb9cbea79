# Round trips of 100 bytes: `echo.pl server PORT` and `echo.pl client PORT SECONDS`, which prints how many a second.
use strict;
use warnings;
use IO::Socket::INET;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC);

my ($role, $port, $seconds) = @ARGV;
my $message = 'x' x 100;

sub serve {
	my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 5, ReuseAddr => 1) or die "listen: $!";
	while (my $connection = $listener->accept) {
		while (sysread $connection, my $data, 65536) {
			syswrite($connection, $data) == length $data or die "write: $!";
		}
	}
}

sub ask {
	my $connection = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "connect: $!";
	my ($count, $begin, $passed) = (0, clock_gettime(CLOCK_MONOTONIC), 0);
	for (; ($passed = clock_gettime(CLOCK_MONOTONIC) - $begin) < $seconds; $count++) {
		syswrite($connection, $message) == length $message or die "write: $!";
		my $got = '';
		while (length $got < length $message) {
			sysread $connection, $got, length($message) - length $got, length $got or die "read: $!";
		}
		die "another message came back" if $got ne $message;
	}
	print $count / $passed, "\n";
}

$role eq 'server' ? serve : ask;
