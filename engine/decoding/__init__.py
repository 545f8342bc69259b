"""What decoders make of media, in processes that may crash, hang or fill their memory and cost one file each."""
