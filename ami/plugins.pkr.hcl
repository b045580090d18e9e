# What a current Packer needs to know first, and Debian's 1.6.6 does not understand: it has all of
# this built in. Kept in a file of its own, so that tests/image can leave it out (README.md).

packer {
  required_version = ">= 1.7.0"

  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.0, < 2.0.0"
    }
  }
}
