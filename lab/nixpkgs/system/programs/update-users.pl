# Makes /etc/passwd, /etc/group and /etc/shadow from a table of accounts (users.nix).
#
# With mutable accounts, what was changed on the machine stays: a password is set only for an
# account that is new. Otherwise the table alone counts. Numbers once given are remembered in
# /var/lib/nixos, so that files keep their owners.
use strict;
use warnings;
use Fcntl ':flock';

my $state = '/var/lib/nixos';
my $table = read_table($ARGV[0]);

for my $dir ('/var', '/var/lib', $state) { mkdir $dir, 0755 unless -d $dir }
open my $lock, '>', "$state/lock" or die "update-users: $state/lock: $!\n";
flock $lock, LOCK_EX;

my %old_group  = by_name('/etc/group');
my %old_user   = by_name('/etc/passwd');
my %old_shadow = by_name('/etc/shadow');
my %declared_before = by_name("$state/declarative");
my %number = map { $_->[0] => $_->[1] } read_fields("$state/numbers");

my %gid = set_groups();
set_users();
write_file("$state/numbers", 0644, map { "$_:$number{$_}" } sort keys %number);
write_file("$state/declarative", 0644, map { "$_->{kind}-$_->{name}" } @{ $table->{groups} }, @{ $table->{users} });

sub read_table {
    my ($path) = @_;
    my %read = (groups => [], users => []);
    open my $handle, '<', $path or die "update-users: $path: $!\n";
    while (my $line = <$handle>) {
        chomp $line;
        my ($kind, @value) = split /\t/, $line, -1;
        my %entry = (kind => $kind);
        if ($kind eq 'mutable') {
            $read{mutable} = $value[0];
        } elsif ($kind eq 'group') {
            @entry{qw(name id members)} = @value;
            push @{ $read{groups} }, \%entry;
        } else {
            @entry{qw(name id group description home mode create shell system
                hash hash_file password initial_hash initial_password)} = @value;
            push @{ $read{users} }, \%entry;
        }
    }
    return \%read;
}

sub read_fields {
    my ($path) = @_;
    open my $handle, '<', $path or return;
    chomp(my @lines = <$handle>);
    return map { [ split /:/, $_, -1 ] } @lines;
}

sub by_name { return map { $_->[0] => $_ } read_fields(@_) }

# Written beside and renamed: a crash leaves the old file or the new one.
sub write_file {
    my ($path, $mode, @lines) = @_;
    open my $handle, '>', "$path.new" or die "update-users: $path.new: $!\n";
    chmod $mode, "$path.new";
    print $handle map { "$_\n" } @lines;
    close $handle or die "update-users: $path.new: $!\n";
    rename "$path.new", $path or die "update-users: $path: $!\n";
}

# The declared number, else the one that the account has or had, else a free one.
sub choose_number {
    my ($entry, $existing, $taken, $system) = @_;
    my $key = "$entry->{kind}-$entry->{name}";
    my $id = $entry->{id} ne '' ? $entry->{id} : $existing // $number{$key};
    if (!defined $id) {
        my ($candidate, $step) = $system ? (999, -1) : (1000, 1);
        $candidate += $step while $taken->{$candidate};
        $id = $candidate;
    }
    $taken->{$id} = 1;
    $number{$key} = $id;
    return $id;
}

sub taken {
    my ($entries, $old) = @_;
    my %ids = map { $_ => 1 } grep { $_ ne '' } map { $_->{id} } @$entries;
    $ids{ $_->[2] } = 1 for values %$old;
    return \%ids;
}

sub set_groups {
    my $taken = taken($table->{groups}, \%old_group);
    my (%ids, @lines);
    for my $group (@{ $table->{groups} }) {
        my $old = $old_group{ $group->{name} };
        my $id = choose_number($group, $old ? $old->[2] : undef, $taken, 1);
        my %members = map { $_ => 1 } split /,/, $group->{members};
        if ($table->{mutable} && $old) { $members{$_} = 1 for split /,/, $old->[3] }
        $ids{ $group->{name} } = $id;
        push @lines, join ':', $group->{name}, 'x', $id, join ',', sort keys %members;
    }
    push @lines, kept(\%old_group, \%ids, 'group');
    write_file('/etc/group', 0644, @lines);
    return %ids;
}

# Accounts that somebody added on the machine, where that is allowed.
sub kept {
    my ($old, $new, $kind) = @_;
    return unless $table->{mutable};
    return map { join ':', @{ $old->{$_} } }
        grep { !exists $new->{$_} && !$declared_before{"$kind-$_"} } sort keys %$old;
}

sub set_users {
    my $taken = taken($table->{users}, \%old_user);
    my (%ids, @passwd, @shadow);
    for my $user (@{ $table->{users} }) {
        my $name = $user->{name};
        my $old = $old_user{$name};
        my $id = choose_number($user, $old ? $old->[2] : undef, $taken, $user->{system});
        my $group = $gid{ $user->{group} } // die "update-users: $name: no group $user->{group}\n";
        $ids{$name} = $id;
        push @passwd, join ':', $name, 'x', $id, $group, $user->{description}, $user->{home}, $user->{shell};
        push @shadow, join ':', $name, password($user), '1', '', '', '', '', '', '';
        make_home($user, $id, $group) if $user->{create};
    }
    push @passwd, kept(\%old_user, \%ids, 'user');
    push @shadow, map { join ':', @{ $old_shadow{$_} } } grep { !exists $ids{$_} && $table->{mutable} && !$declared_before{"user-$_"} } sort keys %old_shadow;
    write_file('/etc/passwd', 0644, @passwd);
    write_file('/etc/shadow', 0640, @shadow);
    chown 0, $gid{shadow} // 0, '/etc/shadow';
}

# What stands in the shadow file. `!` opens to nobody.
sub password {
    my ($user) = @_;
    my $old = $old_shadow{ $user->{name} };
    return $old->[1] if $table->{mutable} && $old;
    my $declared = declared_password($user);
    return $declared if defined $declared;
    return '!' if $old && $old_user{ $user->{name} } && !$table->{mutable} && !has_initial($user);
    return $user->{initial_hash} if $user->{initial_hash} ne '';
    return hash_of($user->{initial_password}) if $user->{initial_password} ne '';
    return '!';
}

sub has_initial { return $_[0]->{initial_hash} ne '' || $_[0]->{initial_password} ne '' }

sub declared_password {
    my ($user) = @_;
    if ($user->{hash_file} ne '') {
        if (open my $handle, '<', $user->{hash_file}) {
            my $hash = <$handle> // '';
            chomp $hash;
            return $hash if $hash ne '';
        }
        warn "warning: password file '$user->{hash_file}' of $user->{name} cannot be read\n";
        return undef;
    }
    return $user->{hash} if $user->{hash} ne '';
    return hash_of($user->{password}) if $user->{password} ne '';
    return undef;
}

sub hash_of {
    my ($password) = @_;
    my @alphabet = ('.', '/', 0 .. 9, 'A' .. 'Z', 'a' .. 'z');
    open my $random, '<:raw', '/dev/urandom' or die "update-users: /dev/urandom: $!\n";
    read $random, my $bytes, 16;
    my $salt = join '', map { $alphabet[ $_ % 64 ] } unpack 'C*', $bytes;
    return crypt $password, "\$6\$$salt\$";
}

sub make_home {
    my ($user, $id, $group) = @_;
    return if -d $user->{home};
    my $path = '';
    for my $part (split m{/}, substr $user->{home}, 1) {
        $path .= "/$part";
        mkdir $path, 0755 unless -d $path;
    }
    chmod oct $user->{mode}, $user->{home};
    chown $id, $group, $user->{home};
}
