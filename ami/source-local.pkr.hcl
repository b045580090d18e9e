# A Debian that somebody else has booted, reached over ssh: everything the AMI goes through but EC2.
# tests/image boots one, bakes it and looks at it, so that a mistake in a script is not first met in
# an account.

source "null" "nspawn" {
  communicator         = "ssh"
  ssh_host             = var.ssh_host
  ssh_port             = var.ssh_port
  ssh_username         = "admin"
  ssh_private_key_file = var.ssh_private_key_file
  ssh_timeout          = "1m"
}
