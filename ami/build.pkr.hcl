# The steps from Debian's image to ours, the same for every source. One script has one subject and
# its header says why; they run in the order of their numbers.

build {
  sources = [
    "source.amazon-ebs.debian",
    "source.null.nspawn",
  ]

  provisioner "file" {
    source      = var.deb
    destination = "/tmp/wsfleetd.deb"
  }

  provisioner "shell" {
    execute_command = "sudo --non-interactive env {{ .Vars }} bash {{ .Path }}"
    scripts = [
      "${path.root}/scripts/10-wait-cloud-init.sh",
      "${path.root}/scripts/20-base.sh",
      "${path.root}/scripts/30-wsfleetd.sh",
      "${path.root}/scripts/80-manifest.sh",
    ]
  }

  # What is in the image, kept beside its id: who is asked "are we affected?" needs no instance.
  provisioner "file" {
    direction   = "download"
    source      = "/usr/local/share/wsfleetd-image/packages.txt"
    destination = "${var.output}/packages.txt"
  }

  provisioner "shell" {
    execute_command = "sudo --non-interactive env {{ .Vars }} bash {{ .Path }}"
    scripts = [
      "${path.root}/scripts/90-scrub.sh",
      "${path.root}/scripts/99-verify.sh",
    ]
  }

  post-processor "manifest" {
    output     = "${var.output}/manifest.json"
    strip_path = true
    custom_data = {
      version = local.version
      base    = var.base
      arch    = var.arch
    }
  }
}
