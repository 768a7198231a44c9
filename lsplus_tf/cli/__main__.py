from lsplus_tf.cli import main

main()
