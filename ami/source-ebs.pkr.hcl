# The image of an EC2 instance: an encrypted AMI whose instances speak version 2 of the metadata
# service only. Lines that Packer before 1.7 does not know are marked, and only those (README.md).

locals {
  # The AMI's name takes neither ~ nor +, which Debian's versions use.
  version = regex_replace(basename(var.deb), "^wsfleetd_(.*)_[a-z0-9]+[.]deb$", "$1")
  name    = "wsfleetd-${regex_replace(local.version, "[^0-9A-Za-z.-]", "-")}-${var.base}-${var.arch}"

  # Small, for apt and dpkg are all that runs.
  instance_types = {
    amd64 = "t3.small"
    arm64 = "t4g.small"
  }

  tags = merge(var.tags, {
    Name             = local.name
    "wsfleetd:image" = local.version
    "wsfleetd:base"  = "{{ .SourceAMIName }}"
  })
}

source "amazon-ebs" "debian" {
  region        = var.region
  instance_type = local.instance_types[var.arch]
  subnet_id     = var.subnet_id

  # Debian's own account.
  source_ami_filter {
    owners      = ["136693071363"]
    most_recent = true
    filters = {
      name                = "${var.base}-${var.arch}-*"
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
  }

  ami_name           = "${local.name}-{{ timestamp }}"
  ami_description    = "wsfleetd ${local.version} on ${var.base}, ${var.arch}"
  ami_regions        = var.ami_regions
  ami_users          = var.ami_users
  ena_support        = true
  encrypt_boot       = true
  kms_key_id         = var.kms_key_id
  region_kms_key_ids = var.region_kms_key_ids
  skip_create_ami    = var.skip_create_ami # packer>=1.7
  imds_support       = "v2.0"              # packer>=1.7
  deprecate_at       = var.deprecate_at    # packer>=1.7

  # The build instance itself; imds_support above is for those that will be made from the image.
  metadata_options {         # packer>=1.7
    http_tokens = "required" # packer>=1.7
  }                          # packer>=1.7

  # gp3 costs less than gp2; older Packer insists on both numbers, which are its own defaults.
  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = 8
    throughput            = 125
    iops                  = 3000
    delete_on_termination = true
  }

  communicator              = "ssh"
  ssh_username              = "admin"
  ssh_interface             = var.ssh_interface
  temporary_key_pair_type   = "ed25519"
  ssh_clear_authorized_keys = true

  tags            = local.tags
  snapshot_tags   = local.tags
  run_tags        = local.tags
  run_volume_tags = local.tags
}
