# `perl client.pl KIND PORT`: what it finds is what it prints.
use strict;
use warnings;
use Errno;
use FindBin;
use lib $FindBin::Bin;
use Ends;
use Fcntl;
use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(MSG_PEEK MSG_OOB MSG_DONTWAIT SHUT_WR SOL_SOCKET SO_ERROR);
use Time::HiRes ();

my ($kind, $port) = @ARGV;
$| = 1;
$SIG{PIPE} = 'IGNORE';

sub connected {
	my ($what) = @_;
	my $sock = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Proto => 'tcp', Timeout => 60) or die "connect: $@\n";
	write_all($sock, $what) if defined $what;
	return $sock;
}

sub exchange {
	my ($sock, $seed, @sizes) = @_;
	my @seen;
	for my $number (0 .. $#sizes) {
		my $data = content("$seed.$number", $sizes[$number]);
		send_frame($sock, $data);
		push @seen, read_frame($sock);
		die "frame $number came back wrong\n" if reverse($seen[-1]) ne $data;
	}
	return digest(@seen);
}

my @sizes = (0, 1, 10, 100, 1000, 50000, 3, 7, 300000, 1, 1, 1);

sub frames { print "frames: ", exchange(connected('f'), "frames $_", (@sizes) x 4), "\n" for 1 .. 4 }

sub lines {
	my $sock = connected('l');
	my $seen = '';
	for my $i (1 .. 300) {
		print $sock "line $i, flush\n";
		$sock->flush;
		$seen .= <$sock>;
	}
	print $sock "some more $_\n" for 1 .. 5000;
	$sock->flush;
	shutdown $sock, SHUT_WR;
	$seen .= do { local $/; <$sock> };
	print "lines: ", length $seen, ' ', digest($seen), ' ', substr($seen, -4);
	# Blocks of a fixed size, by the same buffers.
	$sock = connected('l');
	print $sock "0123456789\n" x 20000;
	$sock->flush;
	shutdown $sock, SHUT_WR;
	my ($block, $blocks) = ('', 0);
	while (read $sock, $block, 1000) { $blocks++ }
	print "blocks: $blocks, eof ", (eof $sock ? 1 : 0), "\n";
}

sub whole {
	my $sock = connected('w');
	my $data = content('whole', 2_000_000);
	write_all($sock, $data);
	shutdown $sock, SHUT_WR;
	my $back = read_exactly($sock, length $data);
	print 'whole: ', ($back eq reverse($data) ? 'right' : 'wrong'), ', then ', sysread($sock, my $rest, 10), "\n";
}

# alarm ends a read; Perl's handlers run between operations, and a died one leaves the read.
sub alarms {
	my $sock = connected('s');
	for my $i (1 .. 200) {
		write_all($sock, $i % 10);
		die if read_exactly($sock, 7) ne 'done ' . $i % 10 . "\n";
	}
	my @found;
	for (1 .. 3) {
		my $data;
		eval {
			local $SIG{ALRM} = sub { die "alarm\n" };
			Time::HiRes::ualarm(50_000);
			sysread $sock, $data, 100;
			Time::HiRes::ualarm(0);
		};
		push @found, $@ =~ /alarm/ ? 'alarm' : "read $data";
		write_all($sock, 'x');
		push @found, read_exactly($sock, 7) eq "done x\n" ? 'then data' : 'nothing';
	}
	# A handler that returns: the system call fails with EINTR.
	{
		my $rang = 0;
		local $SIG{ALRM} = sub { $rang++ };
		Time::HiRes::setitimer(Time::HiRes::ITIMER_REAL(), 0.05, 0.05);
		my $n = sysread $sock, my $data, 100;
		push @found, defined $n ? "read $n" : $!{EINTR} ? 'EINTR' : "$!";
		Time::HiRes::setitimer(Time::HiRes::ITIMER_REAL(), 0);
		push @found, $rang > 0 ? 'rang' : 'did not ring';
	}
	# Signals all the time while frames go both ways.
	{
		my $ticks = 0;
		local $SIG{ALRM} = sub { $ticks++ };
		Time::HiRes::setitimer(Time::HiRes::ITIMER_REAL(), 0.002, 0.002);
		push @found, exchange(connected('f'), 'ticks', (5000, 1, 1) x 200);
		select undef, undef, undef, 0.01 while !$ticks;
		Time::HiRes::setitimer(Time::HiRes::ITIMER_REAL(), 0);
		push @found, $ticks > 0 ? 'ticked' : 'no tick';
	}
	print "alarms: @found\n";
}

sub flags {
	my $sock = connected('f');
	my @found = exchange($sock, 'flags', (100) x 50);
	send_frame($sock, 'peeked');
	my $data;
	IO::Select->new($sock)->can_read(60);
	1 while !defined recv($sock, $data, 10, MSG_PEEK) || length $data < 10;
	push @found, unpack 'x4 a*', $data;
	push @found, scalar reverse read_frame($sock);
	push @found, defined recv($sock, $data, 1, MSG_DONTWAIT) ? 'data' : $!{EAGAIN} ? 'EAGAIN' : "$!";
	push @found, IO::Select->new($sock)->can_read(0) ? 'readable' : 'not readable';
	push @found, IO::Select->new($sock)->can_write(0) ? 'writable' : 'not writable';
	push @found, $sock->blocking(0) ? 'blocked' : 'did not block';
	push @found, defined sysread($sock, $data, 1) ? 'data' : $!{EAGAIN} ? 'EAGAIN' : "$!";
	push @found, $sock->sockopt(SO_ERROR), $sock->connected ? 'connected' : 'not connected', $sock->peerport == $port ? 'its port' : 'another port';
	print "flags: @found\n";
}

sub urgent {
	my $sock = connected('o');
	IO::Select->select(undef, undef, IO::Select->new($sock), 60);
	recv $sock, my $byte, 1, MSG_OOB;
	print "urgent: $byte, then ", read_exactly($sock, 6), "\n";
}

sub resets {
	my $sock = connected('r');
	write_all($sock, 'x' x 100000);
	my $n = sysread $sock, my $data, 1;
	print 'resets: ', (defined $n ? "read $n" : $!{ECONNRESET} ? 'ECONNRESET' : "$!");
	$n = syswrite $sock, 'x';
	print ', then ', (defined $n ? "wrote $n" : $!{EPIPE} ? 'EPIPE' : "$!"), "\n";
}

sub inetd {
	my $sock = connected('i');
	my @seen;
	for my $i (1 .. 100) {
		write_all($sock, "request $i\n");
		my $line = <$sock>;
		$line = <$sock> if $line eq "\n";
		push @seen, $line;
	}
	shutdown $sock, SHUT_WR;
	push @seen, <$sock>;
	print 'inetd: ', digest(@seen), ' ', scalar @seen, "\n";
}

# A child goes on with the parent's connection; and both use one, in turn.
sub inherited {
	my $sock = connected('f');
	my @found = exchange($sock, 'before', (1000) x 30);
	for my $turn (1 .. 3) {
		pipe my $from, my $to;
		my $child = fork // die;
		if ($child == 0) {
			print $to exchange($sock, "child $turn", (3000, 1) x 20);
			$to->flush;
			POSIX::_exit(0);
		}
		close $to;
		push @found, <$from>;
		waitpid $child, 0;
		push @found, $?, exchange($sock, "parent $turn", (3000, 1) x 20);
	}
	print "inherited: @found\n";
}

# A child at the other end of one's own listener, and a duplicate that outlives the first descriptor.
sub duplicated {
	my $sock = connected('f');
	exchange($sock, 'first', (100) x 30);
	open my $other, '+<&', $sock or die;
	close $sock;
	my @found = exchange($other, 'second', @sizes);
	my $number = fileno $other;
	open my $third, '+<&=', $number or die;
	push @found, exchange($third, 'third', @sizes);
	print "duplicated: @found\n";
}

# Many connections at once from one process, by select.
sub many {
	my ($in, %wanted, %got, %turn, @digests) = IO::Select->new;
	my $next = sub {
		my ($sock) = @_;
		my $data = content("many $turn{$sock}", 1 + 173 * $turn{$sock});
		$wanted{$sock} = pack('N', length $data) . reverse $data;
		$got{$sock} = '';
		send_frame($sock, $data);
	};
	for my $i (0 .. 39) {
		my $sock = connected($kind eq 'selecting' ? undef : 'f');
		$in->add($sock);
		$turn{$sock} = 0;
		$next->($sock);
	}
	my ($frames, $all) = (0, '');
	while ($in->count) {
		for my $sock ($in->can_read(60)) {
			sysread $sock, $got{$sock}, 65536, length $got{$sock} or die "the end: $!\n";
			next if length $got{$sock} < length $wanted{$sock};
			die "another answer\n" if $got{$sock} ne $wanted{$sock};
			$frames++;
			if (++$turn{$sock} == 40) { $in->remove($sock); close $sock }
			else { $next->($sock) }
		}
	}
	print "many: $frames frames\n";
}

sub preforked { print "preforked: ", exchange(connected('f'), "preforked $_", 1000, 1, 1, 20000, 1, 1, 1), "\n" for 1 .. 30 }

sub large {
	my $sock = connected(undef);
	print "large: ", exchange($sock, 'large', 3_000_000, 5, 1_000_000), "\n";
}

my %exercises = (
	forking => [\&frames, \&lines, \&whole, \&alarms, \&flags, \&urgent, \&resets, \&inetd, \&inherited, \&duplicated],
	preforked => [\&preforked],
	selecting => [\&many, \&large],
);
$_->() for @{ $exercises{$kind} };
