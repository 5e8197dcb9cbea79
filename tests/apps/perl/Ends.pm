# What both ends share: frames with their length before them, and content that follows from a number.
package Ends;
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use Exporter 'import';
our @EXPORT = qw(content digest read_exactly read_frame send_frame write_all);

sub content {
	my ($seed, $size) = @_;
	my $block = join '', map { sha256_hex("$seed/$_") } 0 .. 15;
	return substr($block x (1 + $size / length $block), 0, $size);
}

sub digest { return substr sha256_hex(join '', @_), 0, 16 }

sub write_all {
	my ($sock, $data) = @_;
	my $done = 0;
	while ($done < length $data) {
		my $n = syswrite $sock, $data, length($data) - $done, $done;
		if (!defined $n) {
			next if $!{EINTR};
			die "write: $!\n";
		}
		$done += $n;
	}
}

sub read_exactly {
	my ($sock, $size) = @_;
	my $data = '';
	while (length $data < $size) {
		my $n = sysread $sock, $data, $size - length $data, length $data;
		if (!defined $n) {
			next if $!{EINTR};
			die "read: $!\n";
		}
		return length $data ? die "the end after " . length($data) . " of $size bytes\n" : undef if $n == 0;
	}
	return $data;
}

sub send_frame { write_all($_[0], pack('N', length $_[1]) . $_[1]) }

sub read_frame {
	my ($sock) = @_;
	my $size = read_exactly($sock, 4);
	return defined $size ? $size eq "\0\0\0\0" ? '' : read_exactly($sock, unpack 'N', $size) : undef;
}

1;
