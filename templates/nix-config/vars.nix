# What several files have to agree on.
{
  # The primary user: administers every host, owns the checkouts of the repos.
  username = "alice";
}
