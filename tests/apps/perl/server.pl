# Servers: `perl server.pl KIND PORT`, until SIGTERM.
use strict;
use warnings;
use Errno;
use FindBin;
use lib $FindBin::Bin;
use Ends;
use Fcntl;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER MSG_OOB);

my ($kind, $port) = @ARGV;
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Proto => 'tcp', Listen => 128, ReuseAddr => 1)
	or die "listen: $@\n";
my $ended = 0;
$SIG{PIPE} = 'IGNORE';

# By the connection's first letter.
sub serve {
	my ($sock) = @_;
	my $what = read_exactly($sock, 1);
	return if !defined $what;
	if ($what eq 'f') {
		while (defined(my $frame = read_frame($sock))) { send_frame($sock, scalar reverse $frame) }
	} elsif ($what eq 'l') {
		# Lines by Perl's own buffers, both ways.
		$sock->autoflush(0);
		while (my $line = <$sock>) {
			print $sock uc $line;
			$sock->flush if $line =~ /flush/;
		}
		print $sock "bye\n";
	} elsif ($what eq 'w') {
		my $all = '';
		while (sysread $sock, my $part, 65536) { $all .= $part }
		write_all($sock, scalar reverse $all);
	} elsif ($what eq 's') {
		# Slow: says nothing until it is asked again.
		while (defined(my $go = read_exactly($sock, 1))) { write_all($sock, "done $go\n") if $go ne '-' }
	} elsif ($what eq 'o') {
		send $sock, '!', MSG_OOB;
		write_all($sock, 'behind');
	} elsif ($what eq 'r') {
		read_exactly($sock, 100000);
		setsockopt $sock, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0);
	} elsif ($what eq 'i') {
		# As inetd does it: the program has the connection as its standard streams.
		open STDIN, '<&', $sock or die;
		open STDOUT, '>&', $sock or die;
		exec $^X, '-ne', '$| = 1; print scalar reverse; print "\n"' or die;
	}
	close $sock;
}

# A child a connection; SIGCHLD counts them.
sub forking {
	$SIG{CHLD} = sub {
		while (waitpid(-1, POSIX::WNOHANG()) > 0) { $ended++ }
	};
	while (1) {
		my $sock = $listener->accept;
		if (!$sock) {
			next if $!{EINTR};
			die "accept: $!\n";
		}
		my $child = fork // die;
		if ($child == 0) {
			$SIG{CHLD} = 'DEFAULT';
			close $listener;
			serve($sock);
			exit 0;
		}
		close $sock;
	}
}

# Four children that accept from one listener, each with a loop of its own; the parent starts another for each that ends.
sub preforked {
	my %children;
	$SIG{TERM} = sub { kill 'TERM', keys %children; exit 0 };
	while (1) {
		while (keys %children < 4) {
			my $child = fork // die;
			if ($child == 0) {
				$SIG{TERM} = 'DEFAULT';
				for (1 .. 5) { serve($listener->accept // next) }
				exit 0;
			}
			$children{$child} = 1;
		}
		delete $children{ waitpid -1, 0 };
	}
}

# One process, select, sockets that never wait: frames of all connections come back reversed.
sub selecting {
	my ($in, $out) = (IO::Select->new($listener), IO::Select->new);
	my (%got, %left);
	my $drop = sub { $in->remove($_[0]); $out->remove($_[0]); delete $got{ $_[0] }; delete $left{ $_[0] }; close $_[0] };
	while (1) {
		my ($readable, $writable) = IO::Select->select($in, $out, undef, 30) or next;
		for my $sock (@$readable) {
			if ($sock == $listener) {
				my $new = $listener->accept or next;
				$new->blocking(0);
				$in->add($new);
				$got{$new} = $left{$new} = '';
				next;
			}
			my $n = sysread $sock, $got{$sock}, 50000, length $got{$sock};
			next if !defined $n && $!{EAGAIN};
			if (!$n) { $drop->($sock); next }
			while (length $got{$sock} >= 4 && length $got{$sock} >= 4 + (my $size = unpack 'N', $got{$sock})) {
				$left{$sock} .= pack('N', $size) . reverse substr($got{$sock}, 4, $size);
				substr($got{$sock}, 0, 4 + $size) = '';
			}
			$out->add($sock) if length $left{$sock};
		}
		for my $sock (@$writable) {
			next if !defined $left{$sock};
			my $n = syswrite $sock, $left{$sock};
			next if !defined $n && $!{EAGAIN};
			if (!defined $n) { $drop->($sock); next }
			substr($left{$sock}, 0, $n) = '';
			$out->remove($sock) if !length $left{$sock};
		}
	}
}

{ forking => \&forking, preforked => \&preforked, selecting => \&selecting }->{$kind}->();
