# Makes /etc what the configuration says: links through /etc/static, and copies of the files that
# must not be links. Argument: the tree made by etc.nix. Files that others put there are left alone.
use strict;
use warnings;

my $tree   = $ARGV[0];
my $record = '/etc/.clean';

replace_link("$tree/etc", '/etc/static');
my %copy = map { my ($name, @how) = split /\t/; $name => \@how } lines("$tree/copies");
my @names = files("$tree/etc");
remove_old();
install_copy($_, @{ $copy{$_} }) for sort keys %copy;
link_static($_) for grep { !$copy{$_} } @names;
write_lines($record, sort keys %copy);

sub lines {
    my ($path) = @_;
    open my $handle, '<', $path or return;
    chomp(my @lines = <$handle>);
    return @lines;
}

sub write_lines {
    my ($path, @lines) = @_;
    open my $handle, '>', $path or die "setup-etc: $path: $!\n";
    print $handle map { "$_\n" } @lines;
    close $handle or die "setup-etc: $path: $!\n";
}

# The links below a folder, by their paths in it.
sub files {
    my ($top, $below) = (@_, '');
    my @found;
    opendir my $dir, "$top/$below" or return;
    for my $name (sort grep { $_ ne '.' && $_ ne '..' } readdir $dir) {
        my $path = $below eq '' ? $name : "$below/$name";
        if    (-l "$top/$path") { push @found, $path }
        elsif (-d _)            { push @found, files($top, $path) }
    }
    return @found;
}

sub replace_link {
    my ($target, $path) = @_;
    return if -l $path && readlink $path eq $target;
    unlink "$path.new";
    symlink $target, "$path.new" or die "setup-etc: $path.new: $!\n";
    rename "$path.new", $path or die "setup-etc: $path: $!\n";
}

sub make_parents {
    my ($name) = @_;
    my $path = '/etc';
    my @parts = split m{/}, $name;
    pop @parts;
    for my $part (@parts) {
        $path .= "/$part";
        unlink $path if -l $path;
        mkdir $path, 0755 unless -d $path;
    }
}

# Links and copies of an earlier configuration that this one does not have.
sub remove_old {
    for my $name (files('/etc')) {
        my $target = readlink("/etc/$name") // '';
        unlink "/etc/$name" if $target =~ m{^/etc/static/} && !-l $target;
    }
    for my $name (lines($record)) {
        unlink "/etc/$name" unless $copy{$name};
    }
}

sub install_copy {
    my ($name, $mode, $user, $group) = @_;
    my $uid = $user =~ /^\d+$/ ? $user : getpwnam $user // 0;
    my $gid = $group =~ /^\d+$/ ? $group : getgrnam $group // 0;
    make_parents($name);
    open my $from, '<:raw', "$tree/etc/$name" or die "setup-etc: $name: $!\n";
    local $/;
    my $text = <$from> // '';
    my $new = "/etc/$name.new";
    unlink $new;
    sysopen my $to, $new, 0101, 0600 or die "setup-etc: $new: $!\n";
    print $to $text;
    close $to or die "setup-etc: $new: $!\n";
    chown $uid, $gid, $new;
    chmod oct $mode, $new;
    rename $new, "/etc/$name" or die "setup-etc: $name: $!\n";
}

sub link_static {
    my ($name) = @_;
    my $target = "/etc/static/$name";
    return if -l "/etc/$name" && readlink "/etc/$name" eq $target;
    make_parents($name);
    if (-d "/etc/$name" && !-l "/etc/$name" && !rmdir "/etc/$name") {
        warn "warning: /etc/$name is a folder with files of its own; it stays as it is\n";
        return;
    }
    replace_link($target, "/etc/$name");
}
